"""Logs of containers: reading and following the kubelet's files, which are in the CRI's format:

    2026-11-21T09:00:00.123456789Z stdout F a whole line
    2026-11-21T09:00:00.123456790Z stderr P a part of a long li

F ends a line, P does not. A file is followed by looking at its size ten times a second until the
kubelet says that the container is finished, then once more. When the kubelet has put a new file in its
place, the old one is read to its end first.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final

from aiohttp import web

from clusters.embedded.errors import BadRequest
from clusters.embedded.resources import PODS, Obj
from clusters.embedded.server.context import CONTEXT, Context
from clusters.embedded.server.request import Asked, flag, number

_LOOK_SECONDS: Final = 0.1
_CHUNK: Final = 64 * 1024


@dataclass(frozen=True)
class Wanted:
    """Which part of a log, from the query."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: str = ""  # RFC 3339 in UTC: lines from this moment on
    limit: int | None = None  # bytes


async def log(request: web.Request, asked: Asked) -> web.StreamResponse:
    context = request.app[CONTEXT]
    pod = context.registry.get(PODS, asked.namespace, str(asked.name))
    wanted = _wanted(request, now=context.registry.clock())
    container = _container(pod, request.query.get("container", ""))
    path = _path(context, pod, container, previous=wanted.previous)
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    if path is not None:
        async for chunk in limited(_lines(context, pod, container, path, wanted), wanted.limit):
            await response.write(chunk)
    return response


def _wanted(request: web.Request, *, now: datetime) -> Wanted:
    seconds, moment = number(request, "sinceSeconds"), request.query.get("sinceTime", "")
    if seconds is not None and moment:
        raise BadRequest("at most one of sinceTime or sinceSeconds may be specified")
    since = ""
    try:
        if seconds is not None:
            since = _moment(now - timedelta(seconds=seconds))
        elif moment:
            since = _moment(datetime.fromisoformat(moment))
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"sinceTime: {error}") from error
    return Wanted(
        follow=flag(request, "follow"),
        previous=flag(request, "previous"),
        timestamps=flag(request, "timestamps"),
        tail=number(request, "tailLines"),
        since=since,
        limit=number(request, "limitBytes"),
    )


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _container(pod: Obj, name: str) -> str:
    containers = [c["name"] for c in pod["spec"].get("containers", ())]
    inits = [c["name"] for c in pod["spec"].get("initContainers", ())]
    pod_name = pod["metadata"]["name"]
    if name:
        if name not in containers + inits:
            raise BadRequest(f"container {name} is not valid for pod {pod_name}")
        return name
    if len(containers) == 1:
        return str(containers[0])
    also = f" or one of the init containers: [{' '.join(inits)}]" if inits else ""
    raise BadRequest(
        f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(containers)}]{also}"
    )


def _path(context: Context, pod: Obj, container: str, *, previous: bool) -> Path | None:
    metadata = pod["metadata"]
    path = context.pods.log_path(metadata["namespace"], metadata["name"], container, previous=previous)
    if path is not None and path.exists():
        return path
    words = f'container "{container}" in pod "{metadata["name"]}"'
    if previous:
        raise BadRequest(f"previous terminated {words} not found")
    status = pod.get("status") or {}
    statuses = [*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ())]
    state: Obj = next((s.get("state", {}) for s in statuses if s["name"] == container), {})
    if not state or "waiting" in state:
        reason = state.get("waiting", {}).get("reason", "") or "PodInitializing"
        if reason in ("ErrImagePull", "ImagePullBackOff"):
            raise BadRequest(f"{words} is waiting to start: trying and failing to pull image")
        raise BadRequest(f"{words} is waiting to start: {reason}")
    return path


async def _lines(context: Context, pod: Obj, container: str, path: Path, wanted: Wanted) -> AsyncIterator[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    if wanted.tail is not None:
        file.seek(tail_offset(file, lines=wanted.tail))
    reader = Reader(file, wanted)
    try:
        for chunk in reader.read():
            yield chunk
            await asyncio.sleep(0)
        if not wanted.follow or wanted.previous:
            return
        metadata = pod["metadata"]
        waiting = context.pods.log_finished(metadata["namespace"], metadata["name"], container)
        finished = asyncio.ensure_future(waiting)
        try:
            while not (finished.done() or context.closing.is_set()):
                await asyncio.wait({finished}, timeout=_LOOK_SECONDS)
                new = reader.successor(path)
                for chunk in reader.read():
                    yield chunk
                if new is not None:
                    reader.move_to(new)
                    for chunk in reader.read():
                        yield chunk
        finally:
            finished.cancel()
    finally:
        reader.close()


class Reader:
    """Reads what was added to a log file, and turns its lines into what the client wants."""

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._file = file
        self._stamps = wanted.timestamps
        self._since = wanted.since.encode()
        self._rest = b""
        self._inside = False  # the last line was a part: what follows belongs to it

    def close(self) -> None:
        self._file.close()

    def successor(self, path: Path) -> BinaryIO | None:
        """The file that is now at `path`, opened, if it is another one than is being read."""
        try:
            if path.stat().st_ino == os.fstat(self._file.fileno()).st_ino:
                return None
            return path.open("rb")
        except FileNotFoundError:
            return None

    def move_to(self, file: BinaryIO) -> None:
        self._file.close()
        self._file, self._rest = file, b""

    def read(self) -> Iterator[bytes]:
        """Chunks of text up to the last whole record written so far."""
        while data := self._file.read(_CHUNK):
            records = (self._rest + data).split(b"\n")
            self._rest = records.pop()
            chunk = b"".join(self._text(record) for record in records)
            if chunk:
                yield chunk

    def _text(self, record: bytes) -> bytes:
        parts = record.split(b" ", 3)
        if len(parts) < 4:
            return b""
        stamp, _, tag, text = parts
        if self._since and stamp < self._since:
            return b""
        start = b"" if self._inside or not self._stamps else stamp + b" "
        self._inside = tag == b"P"
        return start + text + (b"" if self._inside else b"\n")


def tail_offset(file: BinaryIO, *, lines: int) -> int:
    """Where the last `lines` whole lines (not records) of a log file begin."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    at, tail = end, b""
    while at > 0:
        size = min(_CHUNK, at)
        at -= size
        file.seek(at)
        tail = file.read(size) + tail
        starts = _line_starts(tail, from_start=at == 0)
        if len(starts) >= lines:
            return at + starts[-lines]
    return 0


def _line_starts(data: bytes, *, from_start: bool) -> list[int]:
    """Offsets in `data` at which a line of the container begins: after a record tagged F."""
    starts, fresh = [], from_start
    at = 0 if from_start else data.find(b"\n") + 1
    if not from_start and at == 0:
        return []
    while at < len(data):
        if fresh:
            starts.append(at)
        end = data.find(b"\n", at)
        record = data[at : end if end >= 0 else len(data)]
        fresh = record.split(b" ", 3)[2:3] != [b"P"]
        if end < 0:
            break
        at = end + 1
    return starts


async def limited(chunks: AsyncIterator[bytes], limit: int | None) -> AsyncIterator[bytes]:
    """At most `limit` bytes of it."""
    left = limit
    async for chunk in chunks:
        if left is None:
            yield chunk
            continue
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return
