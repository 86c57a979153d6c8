"""One pod on this node: its address, its volumes, its containers in order, and its end.

    set up volumes -> init containers, one after the other -> containers, all at once -> ... -> ended
    deletion at any time: end everything in parallel, report, then remove the object and the directory

The status is computed from the containers' reports and written whenever one of them changes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clusters.embedded.conditions import has_ended
from clusters.embedded.errors import Conflict, NotFound
from clusters.embedded.kubelet import status, volumes
from clusters.embedded.kubelet.container import ContainerWorker
from clusters.embedded.kubelet.environment import PodFacts
from clusters.embedded.kubelet.node import Node, now_text
from clusters.embedded.resources import PODS, Obj

log = logging.getLogger(__name__)

_VOLUME_RETRY_SECONDS: Final = 2.0


class PodWorker:
    """Owns all tasks of one pod. Everything happens on the event loop."""

    def __init__(self, node: Node, pod: Obj, *, pod_ip: str, services: Mapping[str, str]) -> None:
        self.node = node
        self.pod = pod
        self.pod_ip = pod_ip
        self.services = services  # host name -> ClusterIP; kept current by the kubelet
        self.uid: str = pod["metadata"]["uid"]
        self.directory = node.pod_directory(self.uid)
        self.volumes: dict[str, Path] = {}
        self.has_inits = bool(pod["spec"].get("initContainers"))
        self.inits = [ContainerWorker(self, c, init=True) for c in pod["spec"].get("initContainers") or ()]
        self.mains = [ContainerWorker(self, c, init=False) for c in pod["spec"]["containers"]]
        self._set_up = False
        self._changed = asyncio.Event()
        self._minded: set[asyncio.Task[Any]] = set()
        self._main: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self.gone = False

    # --- Facts ------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"

    @property
    def long_name(self) -> str:
        metadata = self.pod["metadata"]
        return f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"

    @property
    def restart_policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy") or "Always")

    @property
    def grace_seconds(self) -> float:
        return float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))

    @property
    def workers(self) -> list[ContainerWorker]:
        return [*self.inits, *self.mains]

    @property
    def facts(self) -> PodFacts:
        return PodFacts(self.pod, self.pod_ip, self.node.address, self.node.allocatable)

    def pids(self) -> set[int]:
        return set().union(*(worker.pids() for worker in self.workers))

    def worker(self, name: str) -> ContainerWorker | None:
        return next((worker for worker in self.workers if worker.name == name), None)

    def event(self, *, reason: str, message: str, warning: bool = False) -> None:
        self.node.event(self.pod, reason=reason, message=message, warning=warning)

    # --- Life -------------------------------------------------------------------------------------

    def recall(self) -> None:
        """Learn from disk what went on before this kubelet, and say so if there is anything new."""
        known = self.pod.get("status") or {}
        entries = [*(known.get("initContainerStatuses") or ()), *(known.get("containerStatuses") or ())]
        before = {entry["name"]: entry for entry in entries}
        for worker in self.workers:
            worker.recall(before=before.get(worker.name, {}))
        if before and not has_ended(self.pod):
            self.publish()

    def start(self) -> None:
        self._main = asyncio.create_task(self._run(), name=f"pod {self.title}")
        self.mind(self._main)

    def mind(self, task: "asyncio.Task[Any]") -> None:
        """Own a task: see it fail, and cancel it when the pod goes."""
        self._minded.add(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: "asyncio.Task[Any]") -> None:
        self._minded.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("Pod %s: %s failed", self.title, task.get_name(), exc_info=error)

    async def _run(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o711)
        for worker in self.workers:
            await worker.adopt()
        await self._set_up_volumes()
        self._set_up = True
        self.publish()
        if not await self._run_inits():
            return
        sidecars = [worker for worker in self.inits if worker.report.sidecar]
        async with asyncio.TaskGroup() as group:
            for worker in self.mains:
                group.create_task(worker.run())
        self.publish()
        for worker in sidecars:
            await worker.stop(grace=self.grace_seconds)
        self.publish()

    async def _set_up_volumes(self) -> None:
        wanted = {volume["name"]: volume for volume in self.pod["spec"].get("volumes") or ()}
        while wanted:
            for name, volume in list(wanted.items()):
                try:
                    self.volumes[name] = volumes.set_up(volume, facts=self.facts, host=self._volume_host())
                    del wanted[name]
                except volumes.VolumeError as error:
                    self.event(reason="FailedMount", message=str(error), warning=True)
            if wanted:
                self.publish()
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _VOLUME_RETRY_SECONDS)

    def _volume_host(self) -> volumes.VolumeHost:
        return volumes.VolumeHost(
            directory=self.directory / "volumes",
            images=self.node.images.directory,
            sources=self.node.sources,
            claimed=self.node.claimed,
            token=self.node.token,
            ca_certificate=self.node.ca_certificate,
        )

    async def _run_inits(self) -> bool:
        """One after the other; those that succeeded before a restart of the node are not run again."""
        for worker in self.inits:
            if worker.report.sidecar:
                self.mind(asyncio.create_task(worker.run(), name=f"sidecar {worker.name}"))
                await worker.started.wait()
                continue
            if not worker.report.succeeded:
                await worker.run()
            if not worker.report.succeeded:
                return False
            if not worker.report.ready:
                worker.report = worker.report.with_state(worker.report.state, ready=True)
        return True

    def refresh_volumes(self) -> None:
        """A ConfigMap or Secret changed."""
        self._changed.set()
        if not self._set_up or self.gone or self._ending is not None:
            return
        for volume in self.pod["spec"].get("volumes") or ():
            with contextlib.suppress(volumes.VolumeError):  # deleted since: the files stay, as on any cluster
                volumes.refresh(volume, facts=self.facts, host=self._volume_host())

    # --- Status -----------------------------------------------------------------------------------

    def publish(self) -> None:
        """Write the status if it says something new."""
        if self.gone:
            return
        current = self.node.registry.find(PODS, self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])
        if current is None or current["metadata"]["uid"] != self.uid:
            return
        fresh = status.pod_status(
            current,
            reports=[worker.report for worker in self.workers],
            pod_ip=self.pod_ip,
            host_ip=self.node.address,
            sandbox=self._set_up,
            now=now_text(),
        )
        if fresh != current.get("status"):
            self.pod = self.node.registry.update_status(PODS, {**current, "status": fresh})

    # --- The end ----------------------------------------------------------------------------------

    def end(self, *, grace: float) -> None:
        """The object is being deleted: end everything within ``grace`` seconds. May be called again, sooner."""
        if self._ending is not None:
            for worker in self.workers:
                worker.hurry(grace=grace)
            return
        for worker in self.workers:
            worker.forbid_restart()
        self._ending = asyncio.create_task(self._end(grace), name=f"end of pod {self.title}")
        self.mind(self._ending)

    async def _end(self, grace: float) -> None:
        for worker in self.workers:
            if worker.running:
                self.event(reason="Killing", message=f"Stopping container {worker.name}")
        await self.stop_containers(grace=grace)
        await self._cancel_minded()
        self.publish()
        namespace, name = self.pod["metadata"]["namespace"], self.pod["metadata"]["name"]
        with contextlib.suppress(NotFound, Conflict):
            self.node.registry.delete(PODS, namespace, name, grace_seconds=0, preconditions_uid=self.uid)
        self.gone = True
        volumes.remove(self.directory)
        log.info("Ended pod pod=%s", self.title)

    async def stop_containers(self, *, grace: float, hooks: bool = True) -> None:
        """All containers in parallel; sidecars last."""
        lasting = [worker for worker in self.workers if worker.report.sidecar]
        others = [worker for worker in self.workers if not worker.report.sidecar]
        for group in (others, lasting):
            await asyncio.gather(*(worker.stop(grace=grace, hooks=hooks) for worker in group))

    async def shut_down(self, *, grace: float) -> None:
        """The node goes down: end the processes, keep the object and the directory."""
        for worker in self.workers:
            worker.forbid_restart()
        await self.stop_containers(grace=min(grace, self.grace_seconds), hooks=False)
        await self._cancel_minded()

    async def vanish(self) -> None:
        """The node has lost its power: nothing is ended in order, nothing is reported."""
        self.gone = True
        await asyncio.gather(*(worker.vanish() for worker in self.workers))
        await self._cancel_minded()

    async def _cancel_minded(self) -> None:
        tasks = [task for task in self._minded if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
