"""A file instead of an API server: the router's objects as YAML or JSON documents, read again when they change.

For trying the router out, for machines without Kubernetes and for tests. Each document is an OnlineEndpoint,
an EndpointSlice, or a List of them; anything else is refused loudly. A file that cannot be read or
understood leaves the last table in force, as a broken API server would.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from routerd.routes import Object, RoutingTable
from routerd.routing_table import build_table

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2


class ObjectsError(ValueError):
    """The file cannot be read, or holds something the router does not know."""


def read_objects(path: Path) -> RoutingTable:
    """The routing table a file describes; raises ObjectsError."""
    try:
        documents = _documents(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ObjectsError(f"{path}: {error}") from error
    found: dict[str, list[Object]] = {"OnlineEndpoint": [], "EndpointSlice": []}
    for item in _flatten(documents):
        kind = item.get("kind") if isinstance(item, dict) else None
        if kind not in found:
            raise ObjectsError(f"{path}: {kind!r} is neither an OnlineEndpoint nor an EndpointSlice")
        found[kind].append(item)
    return build_table(endpoints=found["OnlineEndpoint"], slices=found["EndpointSlice"])


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


async def follow_file(path: Path, *, offer: Callable[[RoutingTable], None]) -> None:
    """Offer the file's table now and after each change, until cancelled."""
    seen: tuple[int, int] | None = None
    while True:
        state = _state(path)
        if state != seen:
            seen = state
            try:
                offer(read_objects(path))
            except ObjectsError as error:
                log.error("Keeping the last table: %s", error)
        await asyncio.sleep(_LOOK_SECONDS)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
