"""What changed, in order: the bounded history behind watches, and those who are told.

    registry writes -> pending changes --(commit)--> history + watches + subscribers

A watch that asks for changes since a revision gets them from the history, or `Gone` when they were
dropped (compaction). A watch that does not keep up is ended rather than let memory grow. Replaced
objects keep their JSON bytes only, so history is cheap; it is read again on the rare replay.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from clusters.embedded.errors import Gone
from clusters.embedded.resources import Obj

log = logging.getLogger(__name__)

HISTORY: Final = 8192  # changes remembered
BACKLOG: Final = 20_000  # changes a watch may lag behind

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]


class Stored:
    """One version of one object and its JSON."""

    __slots__ = ("_obj", "body", "revision")

    def __init__(self, obj: Obj, *, body: bytes | None = None) -> None:
        self._obj: Obj | None = obj
        self.body = encode(obj) if body is None else body
        self.revision = int(obj["metadata"]["resourceVersion"])

    @property
    def obj(self) -> Obj:
        return json.loads(self.body) if self._obj is None else self._obj

    def forget(self) -> None:
        """Keep the bytes only: this version was replaced."""
        self._obj = None


@dataclass(frozen=True, slots=True)
class Change:
    """`old` is what it was before; a deletion's `stored` is the last state, with the revision of the end."""

    type: ChangeType
    key: str  # Resource.key
    namespace: str
    stored: Stored
    old: Stored | None = None

    @property
    def obj(self) -> Obj:
        return self.stored.obj

    @property
    def place(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.obj["metadata"]["name"]

    @property
    def revision(self) -> int:
        return self.stored.revision


class Watch:
    """An async iterator of changes. Close it, or use it in `with`."""

    def __init__(self, journal: "Journal", *, key: str | None, namespace: str | None) -> None:
        self._journal, self._key, self._namespace = journal, key, namespace
        self._queue: deque[Change] = deque()
        self._filled = asyncio.Event()
        self._lagged = False
        self.closed = False

    def offer(self, change: Change) -> None:
        if self._key is not None and change.key != self._key:
            return
        if self._namespace and change.namespace != self._namespace:
            return
        if len(self._queue) >= BACKLOG:
            self._lagged = True
            self.close()
        self._queue.append(change)
        self._filled.set()

    async def batch(self, *, seconds: float | None = None) -> list[Change]:
        """All changes that wait; none once closed, or after so many seconds. Raises Gone if it fell behind."""
        if not self._filled.is_set():
            await self._wait(seconds)
        if self._lagged:
            raise Gone("too old resource version: the watch fell behind")
        changes = list(self._queue)
        self._queue.clear()
        if not self.closed:
            self._filled.clear()
        return changes

    async def _wait(self, seconds: float | None) -> None:
        """By a timer of the loop: asyncio.timeout costs more than all else here, and many wait for each change."""
        if seconds is None:
            await self._filled.wait()
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._filled.set)
        try:
            await self._filled.wait()
        finally:
            timer.cancel()

    def close(self) -> None:
        self.closed = True
        self._filled.set()
        self._journal.drop(self)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Change:
        if not self._queue:
            await self._filled.wait()
            if not self._queue:
                raise StopAsyncIteration
        if self._lagged:
            raise Gone("too old resource version: the watch fell behind")
        change = self._queue.popleft()
        if not self._queue and not self.closed:
            self._filled.clear()
        return change


Callback = Callable[[Change], None]


class Journal:
    """`start` is the last revision before this process: older changes are not known here."""

    def __init__(self, *, start: int, size: int = HISTORY) -> None:
        self._history: deque[Change] = deque()
        self._size = size
        self._compacted = start
        self.revision = start  # of the last change published
        self._watches: set[Watch] = set()
        self._subscribers: dict[str, list[Callback]] = {}  # by resource key; "" is told everything

    def watch(self, key: str | None, *, namespace: str | None, since: int | None) -> Watch:
        """Changes after `since`, or from now on. Raises Gone when that is no longer known."""
        if since is not None and since < self._compacted:
            raise Gone(f"too old resource version: {since} ({self._compacted})")
        watch = Watch(self, key=key, namespace=namespace)
        if since is not None:
            for change in self._history:
                if change.revision > since:
                    watch.offer(change)
        self._watches.add(watch)
        return watch

    def rewind(
        self, table: Mapping[tuple[str, str], Stored], *, key: str, revision: int
    ) -> Mapping[tuple[str, str], Stored]:
        """What a kind's objects (now `table`, all of them published) were at an older revision. Raises Gone."""
        if revision < self._compacted:
            raise Gone(f"too old resource version: {revision} ({self._compacted})")
        if revision >= self.revision:
            return table
        then = dict(table)
        for change in reversed(self._history):
            if change.revision <= revision:
                break
            if change.key == key and change.old is None:
                then.pop(change.place, None)
            elif change.key == key and change.old is not None:
                then[change.place] = change.old
        return then

    def drop(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def subscribe(self, callback: Callback, *keys: str) -> Callable[[], None]:
        """Call back after each change of these kinds (of all, without any). Returns how to stop."""
        places = keys or ("",)
        for key in places:
            self._subscribers.setdefault(key, []).append(callback)

        def unsubscribe() -> None:
            for key in places:
                self._subscribers[key].remove(callback)

        return unsubscribe

    def publish(self, changes: list[Change]) -> None:
        for change in changes:
            self._history.append(change)
            self.revision = change.revision
            for watch in list(self._watches):
                watch.offer(change)
            for key in (change.key, ""):
                for callback in list(self._subscribers.get(key, ())):
                    _call(callback, change)
            if change.old is not None:
                change.old.forget()
            if change.type == "DELETED":
                change.stored.forget()
        self._trim()

    def compact(self) -> None:
        """Forget all history; watches that want to resume must list again."""
        self._compacted = self.revision
        self._history.clear()

    def close(self) -> None:
        for watch in list(self._watches):
            watch.close()

    def _trim(self) -> None:
        while len(self._history) > self._size:
            self._compacted = self._history.popleft().revision


def _call(callback: Callback, change: Change) -> None:
    try:
        callback(change)
    except Exception:  # one that fails must not keep the others from hearing of the change
        log.exception("A subscriber failed on a change of %s", change.key)


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
