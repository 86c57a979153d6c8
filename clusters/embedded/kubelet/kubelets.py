"""All nodes of the cluster. They are one machine: each has a kubelet, its own name, labels, taints and resources.

A node can be lost (faults.py): its containers are killed, nobody reports, its Lease grows old. When it comes back it
finds its pods as after a reboot.
"""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from clusters.embedded.addresses import PodAddresses
from clusters.embedded.kubelet.fake import FakeKubelet
from clusters.embedded.kubelet.kubelet import Kubelet
from clusters.embedded.kubelet.node import Node

log = logging.getLogger(__name__)


class Kubelets:
    """``recall()`` before the API is served, then ``start()``; ``shut_down()`` at the very end."""

    def __init__(self, nodes: Sequence[Node], *, fake: bool = False) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._addresses = PodAddresses(nodes[0].block)
        self._make = FakeKubelet if fake else Kubelet
        self._running: dict[str, Kubelet | FakeKubelet] = {
            node.name: self._make(node, addresses=self._addresses) for node in nodes
        }

    @property
    def node(self) -> Node:
        """The first one."""
        return next(iter(self._nodes.values()))

    async def recall(self) -> None:
        for kubelet in self._running.values():  # one after the other: the first clears what is nobody's
            await kubelet.recall()

    def start(self) -> None:
        for kubelet in self._running.values():
            kubelet.start()

    async def shut_down(self) -> None:
        await asyncio.gather(*(kubelet.shut_down() for kubelet in self._running.values()))

    async def lose(self, name: str) -> None:
        """The node loses its power. Raises KeyError; once lost, nothing more happens."""
        if self._nodes[name].name in self._running:
            log.warning("Lost node=%s", name)
            await self._running.pop(name).vanish()

    async def bring_back(self, name: str) -> None:
        """The node is switched on again. Raises KeyError."""
        node = self._nodes[name]
        if name not in self._running:
            log.info("Node is back node=%s", name)
            kubelet = self._running[name] = self._make(node, addresses=self._addresses)
            await kubelet.recall()
            kubelet.start()

    def log_path(self, namespace: str, pod: str, container: str, previous: bool = False) -> Path | None:
        paths = (k.log_path(namespace, pod, container, previous) for k in self._running.values())
        return next((path for path in paths if path is not None), None)

    async def log_finished(self, namespace: str, pod: str, container: str) -> None:
        """Return once the container's current attempt is over."""
        await asyncio.gather(*(k.log_finished(namespace, pod, container) for k in self._running.values()))
