"""Keeping up with a kind of object, in three nested levels.

    watch_forever    again and again, with growing pauses after errors, until it is told to stop
      list_then_watch  the whole list once, then changes after it, until the server forgets where we were (410 Gone)
        watch_once       one request, from one resourceVersion

What arrives is `on_sync(objects)`, the complete truth, and then `on_change(type, object)` with ADDED, MODIFIED or
DELETED. After any gap `on_sync` comes again, so a reader that keeps a table replaces it whole; nothing may be removed
before the first `on_sync`. `on_state` tells when the way to the server opens and breaks, once per change.

An error in a callback is not ours to judge: it leaves `watch_forever`, and the owner of the thread sees it.
"""

import json
import random
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from clusters.kube.client import Kube
from clusters.kube.errors import Gone, KubeError, error_of
from clusters.kube.kinds import Kind, Obj

SERVER_ENDS_AFTER = 240  # seconds: the server ends a quiet watch, so that a dead way is noticed
QUIET = SERVER_ENDS_AFTER + 30.0
FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 15.0

ChangeType = Literal["ADDED", "MODIFIED", "DELETED"]
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True)
class Synced:
    """The whole list."""

    objects: list[Obj]


@dataclass(frozen=True)
class Changed:
    """One change after it."""

    type: ChangeType
    object: Obj


def watch_forever(
    kube: Kube,
    kind: Kind,
    namespace: str | None,
    *,
    on_sync: Callable[[list[Obj]], None],
    on_change: Callable[[ChangeType, Obj], None],
    on_state: Callable[[bool, KubeError | None], None],
    stop: threading.Event,
    label_selector: str = "",
) -> None:
    """Blocks until `stop` is set. `namespace` None watches all namespaces."""
    state = _State(on_state)
    pause = FIRST_PAUSE
    while not stop.is_set():
        news = list_then_watch(kube, kind, namespace, stop=stop, label_selector=label_selector)
        try:
            for each in _guarded(news):
                if isinstance(each, KubeError):
                    state.tell(connected=False, error=each)
                    stop.wait(pause * random.uniform(0.7, 1.3))  # noqa: S311  spreads load, guards nothing
                    pause = min(pause * 2, LONGEST_PAUSE)
                    break
                if isinstance(each, Synced):
                    pause = FIRST_PAUSE
                    state.tell(connected=True)
                    on_sync(each.objects)
                else:
                    on_change(each.type, each.object)
        finally:
            news.close()


def _guarded(news: Iterator[Synced | Changed]) -> Iterator[Synced | Changed | KubeError]:
    """The same news with an error of the way as its last item; errors of whoever consumes them are not caught."""
    while True:
        try:
            each = next(news)
        except StopIteration:
            return
        except KubeError as error:
            yield error
            return
        yield each


class _State:
    """Tells each change of state once."""

    def __init__(self, on_state: Callable[[bool, KubeError | None], None]) -> None:
        self._on_state = on_state
        self._told: tuple[bool, str] | None = None

    def tell(self, *, connected: bool, error: KubeError | None = None) -> None:
        now = (connected, str(error) if error else "")
        if now != self._told:
            self._told = now
            self._on_state(connected, error)


def list_then_watch(
    kube: Kube, kind: Kind, namespace: str | None, *, stop: threading.Event, label_selector: str = ""
) -> Generator[Synced | Changed, None, None]:
    """One Synced, then Changed ones; ends when told to stop, or quietly when the server forgot our version."""
    objects, version = kube.list_with_version(kind, namespace, label_selector=label_selector)
    yield Synced(objects)
    while not stop.is_set():
        try:
            for type_, obj in watch_once(
                kube, kind, namespace, since=version, stop=stop, label_selector=label_selector
            ):
                version = obj["metadata"]["resourceVersion"]
                if type_ != "BOOKMARK":
                    yield Changed(type_, obj)
        except Gone:
            return


def watch_once(
    kube: Kube, kind: Kind, namespace: str | None, *, since: str, stop: threading.Event, label_selector: str = ""
) -> Iterator[tuple[EventType, Obj]]:
    """The events of one request after resourceVersion `since`. Raises Gone, or whatever the server reports."""
    query = {
        "watch": "1",
        "resourceVersion": since,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(SERVER_ENDS_AFTER),
    }
    if label_selector:
        query["labelSelector"] = label_selector
    subject = f"Watch of {kind.plural}" + (f" in {namespace}" if namespace else "")
    path = f"{kind.path(namespace=namespace)}?{urlencode(query)}"
    stream = kube.stream(path, subject=subject, stop=stop, quiet=QUIET)
    try:
        for line in stream.lines():
            if line.strip():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise error_of(int(status.get("code") or 500), body=json.dumps(status).encode(), subject=subject)
                yield event["type"], event["object"]
    finally:
        kube.end_stream(stream)
