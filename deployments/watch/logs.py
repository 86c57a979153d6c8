"""Following pods' logs into the log store: every run of a container once, however many look on.

    one thread a run: clusters.kube.logs.follow --> queue --> one writer: store, copy to the rollout's log, tell

A stream is named "pod/<uid>/<container>/<run>". After a restart of the studio its last line says where to go on: lines
of that very microsecond are counted, so none is lost and none comes twice. The end of a run is told only after its
lines are stored: what is concluded from them can then be read by whoever looks.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from django.db import close_old_connections, connections
from django.utils import timezone

from clusters.kube.client import Kube
from clusters.kube.errors import KubeError
from clusters.kube.logs import follow
from deployments.status import TailKey
from deployments.status.server_log import level_of
from studio.models import LogLine, LogStream, Workspace
from studio.services.logs import Line, append_lines, close_stream, open_stream
from studio.services.operations import Subject

_BATCH_SECONDS: Final = 0.05
_TAIL_LINES: Final = 120

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Source:
    """One run of one container, and whose it is."""

    kube: Kube = field(repr=False)
    workspace: Workspace
    namespace: str
    pod: str
    uid: str
    container: str
    run: int
    subject: Subject
    revision: int = 0
    on_end: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def key(self) -> TailKey:
        return self.uid, self.container, self.run


@dataclass(frozen=True)
class _Item:
    source: Source
    stream: LogStream
    line: Line | None  # None: the run has ended, nothing more will come


# The rollout's log stream a source's lines are copied to, if one is under way.
CopyTo = Callable[[Source], LogStream | None]


class LogFollower:
    """Owns the threads. `begin` is safe to call at every look; a run is followed once."""

    def __init__(self, *, stop: threading.Event, copy_to: CopyTo) -> None:
        self._stop = stop
        self._copy_to = copy_to
        self._lock = threading.Lock()
        self._tails: dict[TailKey, deque[str]] = {}
        self._running: set[TailKey] = set()
        self._queue: queue.Queue[_Item] = queue.Queue(maxsize=20_000)
        self._threads: list[threading.Thread] = []
        self._writer = threading.Thread(target=self._write_forever, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the writer."""
        self._writer.start()

    def begin(self, source: Source) -> None:
        """Follow a run, unless it is or was followed."""
        with self._lock:
            if source.key in self._tails or self._stop.is_set():
                return
            self._tails[source.key] = deque(maxlen=_TAIL_LINES)
            self._running.add(source.key)
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            name = f"log-{source.pod}-{source.container}-{source.run}"
            thread = threading.Thread(target=self._follow, args=(source,), name=name, daemon=True)
            self._threads.append(thread)
        thread.start()

    def note(self, source: Source, *, line: Line) -> None:
        """Store one line that is no container's: an event of the cluster."""
        with self._lock:
            self._tails.setdefault(source.key, deque(maxlen=_TAIL_LINES))
        self._queue.put(_Item(source, _open(source), line))

    def tails(self, uids: set[str]) -> dict[TailKey, str]:
        """The last lines of every run of these pods, as far as they are stored."""
        with self._lock:
            return {key: "\n".join(lines) for key, lines in self._tails.items() if key[0] in uids}

    def knows(self, key: TailKey) -> bool:
        """Whether a run is or was followed."""
        with self._lock:
            return key in self._tails

    def is_following(self, uid: str) -> bool:
        """Whether lines of this pod may still come."""
        with self._lock:
            return any(key[0] == uid for key in self._running)

    def forget(self, uids: set[str]) -> None:
        """Drop the tails of pods that are gone and read to the end."""
        with self._lock:
            for key in [key for key in self._tails if key[0] in uids and key not in self._running]:
                del self._tails[key]

    def join(self, *, timeout: float) -> None:
        """After `stop`: wait for the writer to store what was read."""
        self._writer.join(timeout)

    # --- One run ------------------------------------------------------------------------------------

    def _follow(self, source: Source) -> None:
        try:
            stream = _open(source)
            if stream.closed_at is None:
                self._read(source, stream)
            else:
                self._load_tail(source, stream)
            if not self._stop.is_set():
                self._queue.put(_Item(source, stream, None))
        except Exception:  # this thread's owner is the watcher: it must hear of it, and go on
            log.exception("Log not followed", pod=source.pod, container=source.container)
        finally:
            connections.close_all()

    def _read(self, source: Source, stream: LogStream) -> None:
        skip = _Resume(stream)
        try:
            lines = follow(
                source.kube, source.namespace, source.pod, source.container, since=skip.since, stop=self._stop
            )
            for stamp, text in lines:
                at = _moment(stamp)
                if skip.takes(at):
                    line = Line(at=at, source=source.container, text=text, level=level_of(text))
                    self._queue.put(_Item(source, stream, line))
        except KubeError as error:
            log.warning("Log not followed to its end", pod=source.pod, container=source.container, error=str(error))

    def _load_tail(self, source: Source, stream: LogStream) -> None:
        last = LogLine.objects.filter(stream=stream).order_by("-seq").values_list("text", flat=True)[:_TAIL_LINES]
        with self._lock:
            self._tails[source.key].extend(reversed(list(last)))

    # --- The writer -----------------------------------------------------------------------------------

    def _write_forever(self) -> None:
        try:
            while not (self._stop.is_set() and self._queue.empty()):
                batch = self._next_batch()
                if batch:
                    self._write(batch)
        finally:
            connections.close_all()

    def _next_batch(self) -> list[_Item]:
        try:
            batch = [self._queue.get(timeout=0.5)]
        except queue.Empty:
            close_old_connections()
            return []
        self._stop.wait(_BATCH_SECONDS)
        while len(batch) < 2_000:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _write(self, batch: list[_Item]) -> None:
        try:
            for source, stream, lines in _grouped(batch):
                append_lines(stream, lines=lines)
                copy = self._copy_to(source)
                if copy is not None:
                    append_lines(copy, lines=lines)
                with self._lock:
                    self._tails[source.key].extend(line.text for line in lines)
            for item in batch:
                if item.line is None:
                    self._end(item)
        except Exception:  # the database was busy for long: these lines are lost here, the next ones are not
            log.exception("Log lines not stored", lines=len(batch))

    def _end(self, item: _Item) -> None:
        close_stream(item.stream)
        with self._lock:
            self._running.discard(item.source.key)
        item.source.on_end()


def _open(source: Source) -> LogStream:
    return open_stream(
        source.workspace,
        key=f"pod/{source.uid}/{source.container}/{source.run}",
        label=f"{source.pod}, {source.container}" + (f", try {source.run + 1}" if source.run else ""),
        subject=source.subject,
    )


def _grouped(batch: list[_Item]) -> list[tuple[Source, LogStream, list[Line]]]:
    groups: dict[TailKey, tuple[Source, LogStream, list[Line]]] = {}
    for item in batch:
        if item.line is not None:
            groups.setdefault(item.source.key, (item.source, item.stream, []))[2].append(item.line)
    return list(groups.values())


class _Resume:
    """Which lines of a stream that was begun before are stored already."""

    def __init__(self, stream: LogStream) -> None:
        last = LogLine.objects.filter(stream=stream).order_by("-seq").first()
        self._at = last.at if last else None
        self._left = LogLine.objects.filter(stream=stream, at=last.at).count() if last else 0

    @property
    def since(self) -> str:
        """Where to ask from: just before the last stored line."""
        if self._at is None:
            return ""
        return (self._at - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def takes(self, at: datetime) -> bool:
        """Whether this line is new."""
        if self._at is None or at > self._at:
            return True
        if at == self._at and self._left == 0:
            return True
        self._left -= at == self._at
        return False


def _moment(stamp: str) -> datetime:
    """RFC 3339 with nanoseconds, cut to microseconds."""
    second, _, fraction = stamp.rstrip("Z").partition(".")
    try:
        moment = datetime.fromisoformat(f"{second}.{fraction[:6]:0<6}+00:00")
    except ValueError:
        return timezone.now()
    return moment


def started_runs(pod: dict[str, Any], container: str) -> list[int]:
    """Numbers of the runs of a container whose log can be read now: the present one, once it has begun."""
    status = pod.get("status") or {}
    every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    for each in every:
        if each.get("name") == container:
            restarts = int(each.get("restartCount") or 0)
            state = each.get("state") or {}
            if "running" in state or "terminated" in state:
                return [restarts]
    return []
