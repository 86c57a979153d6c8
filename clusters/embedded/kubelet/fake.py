"""A kubelet that runs nothing: its pods are said to run, at once (`--fake-kubelet`).

For questions about the API with more pods than a machine has room for. Containers have no logs, probes are not asked.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from clusters.embedded.addresses import PodAddresses
from clusters.embedded.errors import ApiError
from clusters.embedded.journal import Change
from clusters.embedded.kubelet.node import Node, now_text
from clusters.embedded.kubelet.registration import keep_alive, register
from clusters.embedded.kubelet.status import ContainerReport, Running, Terminated, pod_status
from clusters.embedded.resources import PODS, Obj


class FakeKubelet:
    """Does what Kubelet does, without processes."""

    def __init__(self, node: Node, *, addresses: PodAddresses) -> None:
        self.node = node
        self._addresses = addresses
        self._unsubscribe: Callable[[], None] = lambda: None
        self._heart: asyncio.Task[None] | None = None

    async def recall(self) -> None:
        register(self.node)

    def start(self) -> None:
        self._unsubscribe = self.node.registry.subscribe(self._on_pod, PODS)
        for pod in self.node.registry.list(PODS):
            self._look_at(pod)
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeat of {self.node.name}")

    async def shut_down(self) -> None:
        self._unsubscribe()
        if self._heart is not None:
            self._heart.cancel()

    async def vanish(self) -> None:
        await self.shut_down()

    def log_path(self, namespace: str, pod: str, container: str, previous: bool = False) -> Path | None:
        del namespace, pod, container, previous
        return None

    async def log_finished(self, namespace: str, pod: str, container: str) -> None:
        del namespace, pod, container

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.node.heartbeat)
            with contextlib.suppress(ApiError):
                keep_alive(self.node)

    def _on_pod(self, change: Change) -> None:
        metadata = change.obj["metadata"]
        pod = self.node.registry.find(PODS, metadata["namespace"], metadata["name"])
        if pod is not None:
            self._look_at(pod)

    def _look_at(self, pod: Obj) -> None:
        registry, status = self.node.registry, pod.get("status") or {}
        if pod["spec"].get("nodeName") != self.node.name:
            return
        if "deletionTimestamp" in pod["metadata"]:
            registry.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"], grace_seconds=0)
        elif not status.get("podIP"):
            fresh = pod_status(
                pod,
                reports=_reports(pod["spec"]),
                pod_ip=self._addresses.allocate(taken=()),
                host_ip=self.node.address,
                sandbox=True,
                now=now_text(),
            )
            registry.update_status(PODS, {**pod, "status": fresh})


def _reports(spec: Obj) -> list[ContainerReport]:
    now = now_text()
    inits = [
        ContainerReport(c["name"], c["image"], init=True, state=Terminated(0, "Completed"), ready=True)
        for c in spec.get("initContainers") or ()
    ]
    return inits + [
        ContainerReport(c["name"], c["image"], state=Running(now), ready=True, started=True) for c in spec["containers"]
    ]
