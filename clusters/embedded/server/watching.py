"""Watches: changes as they are committed, one JSON line each.

    {"type": "ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" | "ERROR", "object": {...}}

With selectors, a watch tells of a set: an object that starts to match is ADDED to it, one that stops
is DELETED from it, whatever happened to the object itself. Without a resourceVersion (or with "0")
the objects that exist come first, as ADDED. Bookmarks tell how far the client is, so that it can
resume although nothing it watches has changed.

A change is told at once. Only a watch that has just been told of several together rests for a moment, so that a
flood reaches many watchers in few pieces: each piece costs the server as much as a change does.
"""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

from aiohttp import web

from clusters.embedded.errors import Gone
from clusters.embedded.journal import Change, Stored, Watch, encode
from clusters.embedded.registry import Registry
from clusters.embedded.resources import Obj
from clusters.embedded.server import answer
from clusters.embedded.server.context import CONTEXT
from clusters.embedded.server.objects import everything, matcher
from clusters.embedded.server.request import Asked, flag, number

_BOOKMARK_SECONDS: Final = 10.0
_FLOOD: Final = 4  # changes at once: more are under way
# A watch in a flood is not written to in every turn of the loop: the more there are, the more goes into one writing.
_REST_FOR_EACH: Final = 0.0004  # seconds, for each watch
_LONGEST_REST: Final = 0.02
_SHORTEST, _LONGEST = 1800, 3600  # seconds, when the client does not say

Matches = Callable[[Stored], bool]


class Lines:
    """Turns changes into the lines one client wants."""

    def __init__(self, request: web.Request, asked: Asked, *, registry: Registry, matches: Matches) -> None:
        self._form = answer.form(request)
        self._resource = asked.resource
        self._registry = registry
        self._matches = matches
        self._columns_told = False

    def of(self, changes: Iterable[Change]) -> bytes:
        return b"".join(map(self._change, changes))

    def existing(self, stored: Stored) -> bytes:
        return self.line("ADDED", stored) if self._matches(stored) else b""

    def _change(self, change: Change) -> bytes:
        if self._matches is everything:
            return self.line(change.type, change.stored)
        matched = change.old is not None and self._matches(change.old)
        if change.type == "DELETED":
            return self.line("DELETED", change.stored) if matched else b""
        if self._matches(change.stored):
            return self.line("MODIFIED" if matched else "ADDED", change.stored)
        return self.line("DELETED", change.stored) if matched else b""

    def line(self, type_: str, stored: Stored) -> bytes:
        if not self._form.kind:
            return _whole_line(type_, stored, self._resource.api_version)
        shown = answer.shown(
            self._resource,
            stored.obj,
            form=self._form,
            registry=self._registry,
            with_columns=not self._columns_told,
        )
        self._columns_told = True
        return _line(type_, encode(shown))

    def bookmark(self, *, initial_end: bool = False) -> bytes:
        metadata: Obj = {"resourceVersion": str(self._registry.told_revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: Obj = {
            "kind": self._resource.kind,
            "apiVersion": self._resource.api_version,
            "metadata": metadata,
        }
        if self._form.kind == "Table":
            obj = answer.table(self._resource, [], form=self._form, registry=self._registry, metadata=metadata)
        return b'{"type":"BOOKMARK","object":' + encode(obj) + b"}\n"


@functools.lru_cache(maxsize=256)
def _whole_line(type_: str, stored: Stored, api_version: str) -> bytes:
    """Made once for all who watch: they are told of a change one right after the other."""
    return _line(type_, answer.body_of(stored, api_version=api_version))


def _line(type_: str, body: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + body + b"}\n"


def error_line(error: Gone) -> bytes:
    return b'{"type":"ERROR","object":' + encode(error.to_status()) + b"}\n"


async def watch(request: web.Request, asked: Asked) -> web.StreamResponse:
    """Stream until the client goes, its time is over, or it has fallen behind (ERROR, code 410)."""
    context = request.app[CONTEXT]
    registry = context.registry
    await registry.committed()
    lines = Lines(request, asked, registry=registry, matches=matcher(request, asked))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    since = number(request, "resourceVersion") or None
    initial = since is None or flag(request, "sendInitialEvents")
    try:
        subscription = registry.watch(asked.resource, asked.namespace, since=None if initial else since)
    except Gone as error:
        await response.prepare(request)
        await response.write(error_line(error))
        return response
    context.watches.add(subscription)
    try:
        first = b""
        if initial:
            first = b"".join(map(lines.existing, registry.all_stored(asked.resource, asked.namespace)))
            if flag(request, "sendInitialEvents"):
                first += lines.bookmark(initial_end=True)
        await response.prepare(request)
        async for chunk in _chunks(request, subscription, lines, first=first):
            await response.write(chunk)
    finally:
        subscription.close()
        context.watches.discard(subscription)
    return response


async def _chunks(request: web.Request, subscription: Watch, lines: Lines, *, first: bytes) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    seconds = number(request, "timeoutSeconds") or random.randint(_SHORTEST, _LONGEST)  # noqa: S311
    end, bookmarks = loop.time() + seconds, flag(request, "allowWatchBookmarks")
    if first:
        yield first
    while (left := end - loop.time()) > 0:
        try:
            changes = await subscription.batch(seconds=min(left, _BOOKMARK_SECONDS))
        except Gone as error:
            yield error_line(error)
            return
        chunk = lines.of(changes)
        if chunk:
            yield chunk
        if subscription.closed:
            return
        if not changes and bookmarks:
            yield lines.bookmark()
        if len(changes) >= _FLOOD:
            await asyncio.sleep(min(_LONGEST_REST, _REST_FOR_EACH * len(request.app[CONTEXT].watches)))
