"""A file instead of an API server: the router's objects as YAML or JSON documents, read again when they change.

For trying the router out, for machines without Kubernetes and for tests. Each document is an OnlineEndpoint,
an EndpointSlice, a Secret, or a List of them; anything else is refused loudly. Several routers find each other by the
EndpointSlice of their Service (`slipway-router` in `slipway-system`) in it; Secrets hold certificates. A file that
cannot be read or understood leaves the last table in force, as a broken API server would.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from routerd.callers_spec import AllowedHosts, read_allowed_hosts
from routerd.peers import Ring, read_ring
from routerd.routes import Object, RoutingTable
from routerd.routing_table import build_table
from routerd.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2


class ObjectsError(ValueError):
    """The file cannot be read, or holds something the router does not know."""


@dataclass(frozen=True)
class Objects:
    """What a file holds, by kind."""

    endpoints: tuple[Object, ...]
    slices: tuple[Object, ...]
    secrets: tuple[Object, ...]


def read_objects(path: Path, *, allowed_hosts: AllowedHosts | None = None) -> RoutingTable:
    """The routing table a file describes; raises ObjectsError."""
    found = load_objects(path)
    return build_table(endpoints=found.endpoints, slices=found.slices, allowed_hosts=allowed_hosts)


def load_objects(path: Path) -> Objects:
    """The objects in a file; raises ObjectsError."""
    try:
        documents = _documents(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ObjectsError(f"{path}: {error}") from error
    found: dict[str, list[Object]] = {"OnlineEndpoint": [], "EndpointSlice": [], "Secret": []}
    for item in _flatten(documents):
        kind = item.get("kind") if isinstance(item, dict) else None
        if kind not in found:
            raise ObjectsError(f"{path}: {kind!r} is no OnlineEndpoint, EndpointSlice or Secret")
        found[kind].append(item)
    endpoints, slices, secrets = (tuple(items) for items in found.values())
    return Objects(endpoints=endpoints, slices=slices, secrets=secrets)


def _documents(text: str) -> list[Any]:
    """JSON as such: read as YAML, a thousand endpoints take a minute and a hundred megabytes that do not come back."""
    with suppress(json.JSONDecodeError):
        return [json.loads(text)]
    return list(yaml.safe_load_all(text))


def _flatten(documents: Iterable[Any]) -> Iterable[Any]:
    for document in documents:
        if isinstance(document, dict) and document.get("kind") == "List":
            yield from document.get("items") or ()
        elif document is not None:
            yield document


async def follow_file(
    settings: Settings,
    *,
    offer: Callable[[RoutingTable], None],
    offer_ring: Callable[[Ring], None],
    offer_secrets: Callable[[Mapping[str, Object]], None],
) -> None:
    """Offer the file's table, routers and certificates now and after each change, until cancelled."""
    path = settings.objects or Path()
    hosts = read_allowed_hosts(settings.allowed_hosts)
    seen: tuple[int, int] | None = None
    while True:
        state = _state(path)
        if state != seen:
            seen = state
            try:
                found = load_objects(path)
                offer_ring(read_ring(found.slices, me=settings.pod_name, namespace=settings.pod_namespace))
                offer_secrets({str(item["metadata"]["name"]): item for item in found.secrets})
                offer(build_table(endpoints=found.endpoints, slices=found.slices, allowed_hosts=hosts))
            except ObjectsError as error:
                log.error("Keeping the last table: %s", error)
        await asyncio.sleep(_LOOK_SECONDS)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
