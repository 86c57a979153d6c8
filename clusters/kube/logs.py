"""Following one container's log: every line once, however often the way breaks.

The server can only be asked for lines since a whole second, so after a break the last second comes again. Lines carry
their time to the nanosecond, but several may share one; so the reader remembers the time of the last line and how many
lines it has seen with that very time, and skips exactly those.

A log belongs to one run of a container. When the container is started again, the rest of the old run is taken from the
`previous` log and the iterator ends; following the new run is a new call.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlencode

from clusters.kube.client import Kube
from clusters.kube.errors import Invalid, KubeError, NotFound, ServerFailed, Unreachable
from clusters.kube.kinds import PODS, Obj

QUIET = 3600.0  # seconds: a model may say nothing for long; TCP keep-alive finds a dead way before
PAUSE = 1.0


class Cursor:
    """Where a reader is: which of the lines that come again are new."""

    def __init__(self, since: str = "") -> None:
        self._last = since  # time of the last line given out
        self._seen = 0  # how many lines of that time were given out; a given start counts as all
        self._skip = 0
        self._start_given = bool(since)

    @property
    def since(self) -> str:
        """Whole second to ask from, "" for the beginning."""
        return self._last[:19] + "Z" if self._last else ""

    def rewind(self) -> None:
        """The last second comes again."""
        self._skip = self._seen

    def take(self, at: str) -> bool:
        """Whether the line of this time is new."""
        key, last = _order(at), _order(self._last)
        if self._last and key < last:
            return False
        if self._last and key == last:
            if self._start_given:
                return False
            if self._skip > 0:
                self._skip -= 1
                return False
            self._seen += 1
            return True
        self._last, self._seen, self._skip, self._start_given = at, 1, 0, False
        return True


def _order(at: str) -> str:
    """RFC 3339 with up to nine digits, as text that sorts."""
    second, _, fraction = at.rstrip("Z").partition(".")
    return f"{second}.{fraction:0<9}"


def split_line(line: str) -> tuple[str, str]:
    """(time, text) of one line of a log asked for with timestamps."""
    at, _, text = line.partition(" ")
    return at, text


@dataclass(frozen=True)
class Run:
    """What a pod says of one of its containers."""

    uid: str
    restarts: int
    state: str  # "waiting", "running", "terminated"
    started: bool  # a log may be there


def run_of(pod: Obj, container: str) -> Run:
    status = pod.get("status") or {}
    every = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    mine: Obj = next((each for each in every if each.get("name") == container), {})
    state = next(iter(mine.get("state") or {"waiting": {}}))
    return Run(
        uid=pod["metadata"]["uid"],
        restarts=int(mine.get("restartCount") or 0),
        state=state,
        started=state != "waiting" or bool((mine.get("lastState") or {}).get("terminated")),
    )


def follow(
    kube: Kube, namespace: str, pod: str, container: str, *, since: str = "", stop: threading.Event
) -> Iterator[tuple[str, str]]:
    """(RFC 3339 time with nanoseconds, text) of each line of the container's present run, as it is written.

    `since`: time of a line already seen. Ends when the run has ended and all its lines came, when the pod is gone, or
    when told to stop; waits while the container has not started. Breaks of the way are mended here.
    """
    cursor = Cursor(since)
    first: Run | None = None
    while not stop.is_set():
        try:
            now = run_of(kube.get(PODS, pod, namespace), container)
            first = first if first and first.uid == now.uid else (None if first else now)
            if first is None:
                return  # another pod of the same name
            if now.restarts != first.restarts:
                yield from _read(kube, namespace, pod, container, cursor=cursor, stop=stop, previous=True)
                return
            yield from _read(kube, namespace, pod, container, cursor=cursor, stop=stop)
            after = run_of(kube.get(PODS, pod, namespace), container)
            if now.state == "terminated" and after.restarts == first.restarts:
                return
        except NotFound:
            return
        except (Invalid, Unreachable, ServerFailed):
            pass  # "waiting to start", or a way that broke: look again
        stop.wait(PAUSE)


def _read(
    kube: Kube,
    namespace: str,
    pod: str,
    container: str,
    *,
    cursor: Cursor,
    stop: threading.Event,
    previous: bool = False,
) -> Iterator[tuple[str, str]]:
    query = {"container": container, "timestamps": "true"}
    query |= {"previous": "true"} if previous else {"follow": "true"}
    if cursor.since:
        query["sinceTime"] = cursor.since
    cursor.rewind()
    path = f"{PODS.path(pod, namespace=namespace)}/log?{urlencode(query)}"
    subject = f"Log of {container} in {PODS.label(pod, namespace=namespace)}"
    stream = kube.stream(path, subject=subject, stop=stop, quiet=QUIET)
    try:
        for line in stream.lines():
            at, text = split_line(line.decode(errors="replace"))
            if at[:1].isdigit() and cursor.take(at):
                yield at, text
    finally:
        kube.end_stream(stream)


__all__ = ["Cursor", "KubeError", "Run", "follow", "run_of", "split_line"]
