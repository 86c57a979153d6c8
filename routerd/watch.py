"""From the API server to the routing table: watch, keep, build.

Three levels, each with one duty:

    forever          back off and begin again, whatever went wrong
      list, then watch     take everything once, then every change; begin again after a few minutes, so that a
                           connection that died silently cannot hide changes for long
        one request        lightkube's list and watch

OnlineEndpoints and EndpointSlices are watched per namespace, because that is all the rights the router has.
Which namespaces: the settings say, or the ConfigMap `slipway-targets`, itself watched. An absent ConfigMap is
"not known", never "none".

Nothing is routed, and so nothing removed, before every namespace has been listed once, or has refused to be (403,
404): a right that is missing in one must not keep the others from being served. When the API server is gone, what was
last known stays. A namespace that is added later, or refuses no more, joins when it has been listed; one that is taken
from the list leaves at once.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError

from routerd import contract
from routerd.callers_spec import AllowedHosts, read_allowed_hosts
from routerd.kubernetes import ConfigMap, EndpointSlice, OnlineEndpoint, Secret
from routerd.peers import Ring, read_ring
from routerd.routes import Object, RoutingTable
from routerd.routing_table import SERVICE_LABEL, TableBuilder
from routerd.settings import Settings

log = logging.getLogger(__name__)

RESYNC_SECONDS: Final = 300.0
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 10.0
_GATHER_SECONDS: Final = 0.005  # changes that arrive together become one table


@dataclass
class Store:
    """The objects of one kind in one namespace, as last known; `listed` once they were all seen."""

    items: dict[str, Object] = field(default_factory=dict)
    listed: bool = False
    refused: bool = False  # the API server will not let us list them
    lost_at: float | None = None  # since when (unix seconds) nothing has been heard; None: the watch is up

    def replace(self, items: Iterable[Object]) -> None:
        """Take a complete list."""
        self.items = {_name(item): item for item in items}
        self.listed, self.refused, self.lost_at = True, False, None

    def apply(self, kind: str, item: Object) -> None:
        """Take one watch event (ADDED, MODIFIED or DELETED; others say nothing about the object)."""
        if kind == "DELETED":
            self.items.pop(_name(item), None)
        elif kind in ("ADDED", "MODIFIED"):
            self.items[_name(item)] = item


def _name(item: Object) -> str:
    return str(item["metadata"]["name"])


@dataclass(frozen=True)
class Feed:
    """What to watch and where to keep it."""

    client: AsyncClient
    resource: Any
    namespace: str
    store: Store
    changed: Callable[[], None]
    only: str | None = None  # one object's name
    labels: Mapping[str, str] | None = None  # only objects that carry these

    def __str__(self) -> str:
        return f"{self.resource.__name__} in {self.namespace}"


async def watch_forever(feed: Feed) -> None:
    """Keep `feed.store` up to date until cancelled, whatever the API server does."""
    pause = 0.0
    while True:
        try:
            await _list_then_watch(feed)
            pause = 0.0
        except (ApiError, httpx2.HTTPError, OSError) as error:
            feed.store.lost_at = feed.store.lost_at or time.time()
            if pause == 0.0:
                log.warning("Watching %s broke off, trying again: %s", feed, _reason(error))
            if _is_refusal(error) and not feed.store.refused:
                log.error("Not routed: %s may not be listed, the others are served meanwhile", feed)
                feed.store.refused = True
                feed.changed()
            pause = min(_LONGEST_PAUSE, pause * 2 or _FIRST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 jitter, not a secret


async def _list_then_watch(feed: Feed) -> None:
    """One complete list and the changes after it; returns when it is time to list again."""
    fields: Any = {"metadata.name": feed.only} if feed.only else None
    labels: Any = feed.labels
    listing = feed.client.list(feed.resource, namespace=feed.namespace, fields=fields, labels=labels)
    feed.store.replace([_plain(item) async for item in listing])
    feed.changed()
    events = feed.client.watch(
        feed.resource,
        namespace=feed.namespace,
        fields=fields,
        labels=labels,
        resource_version=listing.resourceVersion,
        server_timeout=int(RESYNC_SECONDS),
    )
    try:
        async with asyncio.timeout(RESYNC_SECONDS * random.uniform(0.8, 1.0)):  # noqa: S311 spreads the lists
            async for kind, item in events:
                feed.store.apply(kind, _plain(item))
                feed.changed()
    except TimeoutError:
        return


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.status.code in (401, 403, 404)


def _plain(item: Any) -> Object:
    plain: Object = item.to_dict()
    return plain


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class Watcher:
    """Watches all namespaces and hands every new routing table to `offer`."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: AsyncClient,
        offer: Callable[[RoutingTable], None],
        offer_ring: Callable[[Ring], None],
        offer_secrets: Callable[[Mapping[str, Object]], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._offer, self._offer_ring, self._offer_secrets = offer, offer_ring, offer_secrets
        self._targets, self._routers = Store(), Store()
        self._secrets = {name: Store() for name in settings.tls_secrets if settings.tls_port}
        self._known_namespaces: set[str] | None = None
        self._known_hosts: list[str] = []
        self._stores: dict[tuple[str, str], Store] = {}  # (namespace, kind)
        self._builder = TableBuilder()
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._first_table_made = False

    def lost_at(self) -> float | None:
        """Since when (unix seconds) some of what is routed may be out of date; None when every watch is up.

        What the API server refuses to show is no loss of the API server.
        """
        stores = (self._targets, self._routers, *self._secrets.values(), *self._stores.values())
        return min((store.lost_at for store in stores if store.lost_at and not store.refused), default=None)

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            if not self._settings.namespaces:
                group.create_task(watch_forever(self._feed_of_targets()))
            if self._settings.peer_port:
                group.create_task(watch_forever(self._feed_of_routers()))
            for name in self._secrets:
                group.create_task(watch_forever(self._feed_of_secret(name)))
            self._changed.set()
            while True:
                await self._changed.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                self._changed.clear()
                self._follow_namespaces(group)
                self._make_ring()
                self._give_secrets()
                self._make_table()

    def _feed_of_targets(self) -> Feed:
        return Feed(
            client=self._client,
            resource=ConfigMap,
            namespace=self._settings.pod_namespace,
            store=self._targets,
            changed=self._changed.set,
            only=contract.TARGETS_CONFIGMAP,
        )

    def _feed_of_routers(self) -> Feed:
        return Feed(
            client=self._client,
            resource=EndpointSlice,
            namespace=self._settings.pod_namespace,
            store=self._routers,
            changed=self._changed.set,
            labels={SERVICE_LABEL: contract.ROUTER_SERVICE},
        )

    def _feed_of_secret(self, name: str) -> Feed:
        return Feed(
            client=self._client,
            resource=Secret,
            namespace=self._settings.pod_namespace,
            store=self._secrets[name],
            changed=self._changed.set,
            only=name,
        )

    def _give_secrets(self) -> None:
        """Offer the certificates, once each has been looked for (one that may not be read is not there)."""
        if self._secrets and all(store.listed or store.refused for store in self._secrets.values()):
            found = {name: store.items[name] for name, store in self._secrets.items() if name in store.items}
            self._offer_secrets(found)

    def _make_ring(self) -> None:
        """Offer the routers there are; where they may not be listed, this one goes on by itself."""
        if self._routers.listed or self._routers.refused:
            slices = self._routers.items.values()
            self._offer_ring(read_ring(slices, me=self._settings.pod_name, namespace=self._settings.pod_namespace))

    def _namespaces(self) -> set[str] | None:
        """The namespaces to route; None while they are not known."""
        if self._settings.namespaces:
            return set(self._settings.namespaces)
        targets = self._targets.items.get(contract.TARGETS_CONFIGMAP)
        if targets is not None:
            self._known_namespaces = parse_targets(targets)
        return self._known_namespaces

    def _follow_namespaces(self, group: asyncio.TaskGroup) -> None:
        wanted = self._namespaces()
        if wanted is None:
            return
        for namespace in sorted(self._tasks.keys() - wanted):
            for task in self._tasks.pop(namespace):
                task.cancel()
            self._stores = {key: s for key, s in self._stores.items() if key[0] != namespace}
            log.info("Left namespace %s", namespace)
        for namespace in sorted(wanted - self._tasks.keys()):
            self._tasks[namespace] = [
                group.create_task(watch_forever(self._feed(namespace, resource)))
                for resource in (OnlineEndpoint, EndpointSlice)
            ]
            log.info("Watching namespace %s", namespace)

    def _feed(self, namespace: str, resource: Any) -> Feed:
        store = self._stores.setdefault((namespace, resource.__name__), Store())
        return Feed(
            client=self._client,
            resource=resource,
            namespace=namespace,
            store=store,
            changed=self._changed.set,
        )

    def _make_table(self) -> None:
        if self._namespaces() is None:
            return
        stores = {ns: [s for (n, _), s in self._stores.items() if n == ns] for ns in self._tasks}
        listed = {ns for ns, found in stores.items() if all(s.listed for s in found)}
        refused = {ns for ns, found in stores.items() if any(s.refused and not s.listed for s in found)}
        if not self._first_table_made and listed | refused != self._tasks.keys():
            return
        self._first_table_made = True
        self._offer(
            self._builder.build(
                endpoints=self._items(OnlineEndpoint, listed),
                slices=self._items(EndpointSlice, listed),
                allowed_hosts=self._allowed_hosts(),
            )
        )

    def _allowed_hosts(self) -> AllowedHosts:
        targets = self._targets.items.get(contract.TARGETS_CONFIGMAP)
        if targets is not None:
            self._known_hosts = str((targets.get("data") or {}).get("hosts", "")).splitlines()
        return read_allowed_hosts([*self._settings.allowed_hosts, *self._known_hosts])

    def _items(self, resource: Any, namespaces: set[str]) -> list[Object]:
        return [
            item
            for (namespace, kind), store in sorted(self._stores.items())
            if kind == resource.__name__ and namespace in namespaces
            for item in store.items.values()
        ]


def parse_targets(configmap: Object) -> set[str]:
    """The compute-target namespaces a ConfigMap `slipway-targets` names: one a line, `#` starts a comment."""
    text = str((configmap.get("data") or {}).get("namespaces", ""))
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return {line for line in lines if line}
