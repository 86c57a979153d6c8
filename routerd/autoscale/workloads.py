"""The workloads (apps/v1 Deployments) behind the deployments: how many replicas each is asked for, and asking anew.

They are watched like everything else (`watch`), in every namespace that has an endpoint in the table. A namespace that
was never listed completely is unknown, which is not the same as empty.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from lightkube.core.async_client import AsyncClient
from lightkube.generic_resource import create_namespaced_resource
from lightkube.types import PatchType

from routerd import contract
from routerd.routes import Object
from routerd.watch import Feed, Store, watch_forever

Workload: Final[Any] = create_namespaced_resource("apps", "v1", "Deployment", "deployments")

_TRUST_SECONDS: Final = 5.0  # how long our own patch is believed before the watch has shown it


@dataclass(frozen=True)
class _Patched:
    replicas: int
    until: float


@dataclass(frozen=True)
class _Watched:
    store: Store
    task: asyncio.Task[None]


class Workloads:
    """spec.replicas of every workload in the namespaces followed."""

    def __init__(self, kube: AsyncClient) -> None:
        self._kube = kube
        self._watched: dict[str, _Watched] = {}
        self._patched: dict[tuple[str, str], _Patched] = {}

    def follow(self, namespaces: Iterable[str], *, group: asyncio.TaskGroup) -> None:
        """Watch exactly these namespaces, in tasks of `group`."""
        wanted = set(namespaces)
        for namespace in self._watched.keys() - wanted:
            self._watched.pop(namespace).task.cancel()
        for namespace in wanted - self._watched.keys():
            store = Store()
            feed = Feed(client=self._kube, resource=Workload, namespace=namespace, store=store, changed=_nothing)
            self._watched[namespace] = _Watched(store, group.create_task(watch_forever(feed)))

    def asked(self, *, namespace: str, name: str, now: float) -> int | None:
        """spec.replicas; None while the workload is not known."""
        seen = self._seen(namespace=namespace, name=name)
        patched = self._patched.get((namespace, name))
        if patched is None:
            return seen
        if seen is None or seen == patched.replicas or now >= patched.until:
            del self._patched[namespace, name]
            return seen
        return patched.replicas

    async def patch(self, *, namespace: str, name: str, replicas: int, now: float) -> None:
        """Ask for so many replicas, through the scale subresource. Raises httpx2.HTTPError."""
        await self._kube.patch(
            Workload.Scale,
            name,
            {"spec": {"replicas": replicas}},
            namespace=namespace,
            patch_type=PatchType.MERGE,
            field_manager=contract.ROUTER_FIELD_MANAGER,
        )
        # Until the watch catches up, deciding from what it shows would decide the same thing again.
        self._patched[namespace, name] = _Patched(replicas=replicas, until=now + _TRUST_SECONDS)

    def _seen(self, *, namespace: str, name: str) -> int | None:
        watched = self._watched.get(namespace)
        if watched is None or not watched.store.listed or name not in watched.store.items:
            return None
        return _replicas(watched.store.items[name])


def _replicas(workload: Object) -> int:
    replicas = (workload.get("spec") or {}).get("replicas")
    return 1 if replicas is None else int(replicas)  # absent means one


def _nothing() -> None:
    """The scaler looks by itself, twice a second."""
