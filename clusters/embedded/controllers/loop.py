"""How all controllers run: level-triggered, one queue of keys each, one task each.

    change of a watched object -> keys(...) -> queue (a key waits in it once) -> reconcile(key) -> done
                                                   ^                                | seconds: look again then
                                                   +-- Conflict, or any error: again, later and later

`reconcile` reads what is, decides by pure functions and writes through the registry; it is synchronous, so
nothing changes under its hands. Doing it twice does nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, Protocol

from clusters.embedded.errors import ApiError, Conflict, NotFound
from clusters.embedded.journal import Change
from clusters.embedded.registry import Registry
from clusters.embedded.resources import Obj, Resource

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 0.005
_LONGEST_RETRY: Final = 30.0


class Controller(Protocol):
    """``watched`` empty means every kind."""

    name: str

    @property
    def watched(self) -> tuple[Resource, ...]: ...

    def keys(self, resource: Resource, obj: Obj, *, deleted: bool) -> Iterable[Hashable]:
        """What to look at because of a change of ``obj``."""
        ...

    def reconcile(self, key: Any) -> float | None:
        """Bring one thing in order; seconds until it wants to be looked at again, if time alone changes it."""
        ...


class Runner:
    """Runs one controller."""

    def __init__(self, controller: Controller, registry: Registry) -> None:
        self._controller = controller
        self._registry = registry
        self._queue: dict[Hashable, None] = {}  # a dict keeps the order
        self._filled = asyncio.Event()
        self._failures: dict[Hashable, int] = {}
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def look_at_all(self) -> None:
        """Bring everything in order now, before anybody asks: what a restart made untrue."""
        self._add_all()
        while self._queue:
            self._handle(self._take())

    def start(self) -> None:
        """Look at everything there is, then at what changes."""
        self._unsubscribe = self._registry.subscribe(self._on_change, *self._controller.watched)
        self._add_all()
        self._task = asyncio.create_task(self._run(), name=self._controller.name)

    def _add_all(self) -> None:
        for resource in self._controller.watched or tuple(self._registry.catalog):
            for obj in self._registry.list(resource):
                self._add(self._controller.keys(resource, obj, deleted=False))

    def _take(self) -> Hashable:
        key = next(iter(self._queue))
        del self._queue[key]
        return key

    async def stop(self) -> None:
        self._unsubscribe()
        for timer in self._timers.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _on_change(self, change: Change) -> None:
        resource = self._registry.catalog.of_key(change.key)
        if resource is not None:
            deleted = change.type == "DELETED"
            self._add(self._controller.keys(resource, change.obj, deleted=deleted))
            if change.old is not None and not deleted:  # it may have let go of something
                self._add(self._controller.keys(resource, change.old.obj, deleted=False))

    def _add(self, keys: Iterable[Hashable]) -> None:
        for key in keys:
            self._queue[key] = None
            self._filled.set()

    async def _run(self) -> None:
        while True:
            while self._queue:
                self._handle(self._take())
                await asyncio.sleep(0)  # let the API answer between two keys
            self._filled.clear()
            await self._filled.wait()

    def _handle(self, key: Hashable) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
        try:
            again = self._controller.reconcile(key)
        except (Conflict, NotFound):
            again = self._retry_delay(key)
        except ApiError as error:
            again = self._retry_delay(key)
            log.warning("%s: %s: %s", self._controller.name, key, error.message)
        except Exception:
            again = self._retry_delay(key)
            log.exception("%s: %s failed, trying again in %.2f s", self._controller.name, key, again)
        else:
            self._failures.pop(key, None)
        if again is not None:
            self._timers[key] = asyncio.get_running_loop().call_later(again, self._add, (key,))

    def _retry_delay(self, key: Hashable) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return retry_delay(failures)


def retry_delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row (pure)."""
    return min(_FIRST_RETRY * 2.0 ** min(failures, 32), _LONGEST_RETRY)


class Runners:
    """All controllers of a cluster."""

    def __init__(self, controllers: Sequence[Controller], registry: Registry) -> None:
        self._runners = [Runner(controller, registry) for controller in controllers]

    def start(self) -> None:
        for runner in self._runners:
            runner.start()

    async def stop(self) -> None:
        await asyncio.gather(*(runner.stop() for runner in self._runners))
