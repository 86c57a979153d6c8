"""The kubelet: keeps this node's pods as the API says, and says how they are.

Level-triggered: a change of a pod means "look at it again" (`_sync`). What is to be done follows from the object
and from whether a worker for its uid exists:

    object, no worker, not ended   -> a worker (new, or taking over what still runs)
    object with deletionTimestamp  -> the worker ends it
    no object                      -> the worker ends it without grace; directories nobody owns are cleared at start
"""

import asyncio
import contextlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from clusters.embedded.addresses import PodAddresses
from clusters.embedded.conditions import has_ended
from clusters.embedded.errors import ApiError
from clusters.embedded.journal import Change
from clusters.embedded.kubelet import hosts, volumes
from clusters.embedded.kubelet.container import ContainerWorker
from clusters.embedded.kubelet.node import Node
from clusters.embedded.kubelet.pod import PodWorker
from clusters.embedded.kubelet.process import ContainerProcess, StartError, is_alive
from clusters.embedded.kubelet.registration import keep_alive, register
from clusters.embedded.resources import CONFIG_MAPS, PODS, SECRETS, SERVICES, Obj

log = logging.getLogger(__name__)

_TOKENS_SECONDS: Final = 1800.0
_SHUTDOWN_GRACE: Final = 5.0


class Kubelet:
    """One node. ``recall()`` before the API is served, then ``start()``; ``shut_down()`` at the very end."""

    def __init__(self, node: Node, *, addresses: PodAddresses) -> None:
        self.node = node
        self._addresses = addresses
        self._unsubscribe: list[Callable[[], None]] = []
        self._workers: dict[str, PodWorker] = {}
        self._service_names: dict[str, str] = {}
        self._hosts_written: dict[Path, str] = {}
        self._heart: asyncio.Task[None] | None = None
        self._closing = False

    async def recall(self) -> None:
        """Register the node and tell the truth about the pods that are here, before anybody asks."""
        register(self.node)
        self._on_services()
        registry = self.node.registry
        await self._clear_orphans({pod["metadata"]["uid"] for pod in registry.list(PODS)})
        for pod in registry.list(PODS):
            if pod["spec"].get("nodeName") == self.node.name:
                self._take_on(pod)

    def start(self) -> None:
        """Take over what still runs, start what should run, follow what changes."""
        registry = self.node.registry
        self._unsubscribe = [
            registry.subscribe(_guarded(self._on_pod), PODS),
            registry.subscribe(_guarded(lambda _: self._on_services()), SERVICES),
            registry.subscribe(_guarded(self._on_source), CONFIG_MAPS, SECRETS),
        ]
        for worker in list(self._workers.values()):
            self._begin(worker)
        for pod in registry.list(PODS):
            self._sync(pod)
        self._heart = asyncio.create_task(self._beat(), name="node heartbeat")

    async def shut_down(self) -> None:
        """End all processes gracefully and in parallel; objects and directories stay for the next start."""
        self._closing = True
        if self._heart is not None:
            self._heart.cancel()
        workers = list(self._workers.values())
        await asyncio.gather(*(worker.shut_down(grace=_SHUTDOWN_GRACE) for worker in workers))

    async def vanish(self) -> None:
        """The node has lost its power."""
        self._closing = True
        if self._heart is not None:
            self._heart.cancel()
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        await asyncio.gather(*(worker.vanish() for worker in self._workers.values()))

    # --- For the API server -----------------------------------------------------------------------

    def log_path(self, namespace: str, pod: str, container: str, previous: bool = False) -> Path | None:
        worker = self._find(namespace, pod=pod, container=container)
        return None if worker is None else worker.log_path(previous=previous)

    async def log_finished(self, namespace: str, pod: str, container: str) -> None:
        """Return once the container's current attempt is over."""
        worker = self._find(namespace, pod=pod, container=container)
        if worker is not None:
            await worker.attempt_over()

    def _find(self, namespace: str, *, pod: str, container: str) -> ContainerWorker | None:
        for worker in self._workers.values():
            metadata = worker.pod["metadata"]
            if metadata["name"] == pod and metadata["namespace"] == namespace and not worker.gone:
                return worker.worker(container)
        return None

    # --- Pods -------------------------------------------------------------------------------------

    def _on_pod(self, change: Change) -> None:
        if self._closing:
            return
        metadata = change.obj["metadata"]
        current = self.node.registry.find(PODS, metadata["namespace"], metadata["name"])
        if current is not None and current["metadata"]["uid"] == metadata["uid"]:
            self._sync(current)
            return
        worker = self._workers.get(metadata["uid"])
        if worker is not None and not worker.gone:
            worker.end(grace=0)
        self._forget_gone()

    def _sync(self, pod: Obj) -> None:
        if pod["spec"].get("nodeName") != self.node.name:
            return
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is None:
            worker = self._take_on(pod)
            self._begin(worker)
        worker.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            worker.end(grace=float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))

    def _take_on(self, pod: Obj) -> PodWorker:
        worker = PodWorker(self.node, pod, pod_ip=self._address_of(pod), services=self._service_names)
        self._workers[worker.uid] = worker
        self._write_hosts(worker)
        worker.recall()
        return worker

    def _begin(self, worker: PodWorker) -> None:
        ended = has_ended(worker.pod)
        if not ended and "deletionTimestamp" not in worker.pod["metadata"]:
            worker.start()

    def _address_of(self, pod: Obj) -> str:
        """The address it had, if that is still this cluster's; else a new one."""
        known = (pod.get("status") or {}).get("podIP", "")
        taken = {worker.pod_ip for worker in self._workers.values() if not worker.gone}
        others = (
            other for other in self.node.registry.list(PODS) if other["metadata"]["uid"] != pod["metadata"]["uid"]
        )
        taken |= {(other.get("status") or {}).get("podIP", "") for other in others}
        if known and self.node.block.holds_pod(known) and known not in taken:
            return str(known)
        return self._addresses.allocate(taken=taken)

    def _forget_gone(self) -> None:
        for uid in [uid for uid, worker in self._workers.items() if worker.gone]:
            worker = self._workers.pop(uid)
            self._hosts_written.pop(worker.directory / "etc", None)

    async def _clear_orphans(self, known: set[str]) -> None:
        """End and remove what a dead cluster left for pods that are no more."""
        home = self.node.data / "pods"
        home.mkdir(exist_ok=True)
        strangers = [path for path in home.iterdir() if path.name not in known]
        await end_containers(strangers, grace=_SHUTDOWN_GRACE)
        for path in strangers:
            volumes.remove(path)

    # --- What pods depend on ----------------------------------------------------------------------

    def _on_services(self) -> None:
        """Names of Services changed: rewrite the hosts files. Only what differs is written."""
        names = hosts.service_names(self.node.registry.list(SERVICES))
        if names == self._service_names and self._service_names:
            return
        self._service_names.clear()
        self._service_names.update(names)
        for worker in self._workers.values():
            self._write_hosts(worker)

    def _write_hosts(self, worker: PodWorker) -> None:
        if worker.gone:
            return
        metadata = worker.pod["metadata"]
        text = hosts.hosts_text(
            self.node.registry.list(SERVICES),
            namespace=metadata["namespace"],
            pod_ip=worker.pod_ip,
            hostname=worker.pod["spec"].get("hostname") or metadata["name"],
        )
        directory = worker.directory / "etc"
        hosts.write_hosts(directory, text, known=self._hosts_written)
        self._hosts_written[directory] = text

    def _on_source(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        for worker in self._workers.values():
            same_place = worker.pod["metadata"]["namespace"] == change.namespace
            if same_place and not worker.gone and f'"{name}"' in json.dumps(worker.pod["spec"].get("volumes") or []):
                worker.refresh_volumes()

    # --- The node itself --------------------------------------------------------------------------

    async def _beat(self) -> None:
        for beat in itertools.count(1):
            if beat % int(_TOKENS_SECONDS / self.node.heartbeat) == 0:  # ServiceAccount tokens end after an hour
                for worker in list(self._workers.values()):
                    worker.refresh_volumes()
            with contextlib.suppress(ApiError):  # a Lease that was deleted by hand is made anew next time
                if keep_alive(self.node):
                    for worker in list(self._workers.values()):
                        worker.publish()
            await asyncio.sleep(self.node.heartbeat)


def _guarded(callback: Callable[[Change], None]) -> Callable[[Change], None]:
    """What goes wrong with one pod (a full disk, no address left) must not keep a change from everybody else."""

    def call(change: Change) -> None:
        try:
            callback(change)
        except Exception:
            log.exception("Change not followed kind=%s name=%s", change.key, change.obj["metadata"]["name"])

    return call


async def end_containers(pods: Iterable[Path], *, grace: float) -> None:
    """End every container that still runs in these pod directories: TERM, grace, KILL, in parallel."""
    attempts = [lock.parent for pod in pods for lock in pod.glob("containers/*/*/lock") if is_alive(lock.parent)]
    await asyncio.gather(*(_end_attempt(attempt, grace=grace) for attempt in attempts))


async def _end_attempt(attempt: Path, *, grace: float) -> None:
    try:
        process = await ContainerProcess.find(attempt)
    except StartError as error:
        log.error("Left alone %s: %s", attempt, error)
        return
    if process is None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), grace)
    except TimeoutError:
        process.kill()
        await process.wait()
    log.info("Ended a container without a pod attempt=%s", attempt)
