"""Spans of logged requests, on their way to a collector of traces.

    access log ──offer──> queue (bounded) ──thread──> spans ──OTLP over HTTP──> collector

Requests never pass here, and the event loop only puts records into the queue: a thread makes the spans and waits for
the collector. What the queue has no place for, and what the collector does not take, is dropped and counted; that it
happens is said once, and once when it is over. (The library's own batch processor does not count what it drops, says
so for each span, and takes spans that are made already. Making and encoding them costs some 0.4 ms a request.)
"""

import asyncio
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from routerd.settings import Settings
from routerd.spans import Logged

if TYPE_CHECKING:
    from routerd.otlp import Exporter

_PLACES: Final = 8192  # records, of 3 KB at most
_BATCH: Final = 512
_PAUSE_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 0.5
_TOO_FAST: Final = "they come faster than they are sent, raise --log-sample"

log = logging.getLogger(__name__)


class Tracing:
    """The queue, and the thread that empties it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queue: deque[Logged] = deque()
        self._ending = threading.Event()
        self._overflowed = 0  # written by the event loop alone
        self._refused = 0  # written by the thread alone
        self._noticed = 0  # of those that overflowed
        self._away = False
        self._open = True

    @property
    def dropped(self) -> int:
        """Requests whose span no collector got, since this process started."""
        return self._overflowed + self._refused

    def offer(self, logged: Logged) -> None:
        """Take in one record of the access log, or count it as dropped."""
        if self._open and len(self._queue) < _PLACES:
            self._queue.append(logged)
        else:
            self._overflowed += 1

    async def run(self) -> None:
        """Deliver until cancelled; then try for half a second to deliver what is left."""
        # A daemon: a collector that accepts and says nothing must not keep the process alive.
        thread = threading.Thread(target=self._deliver_forever, name="tracing", daemon=True)
        thread.start()
        try:
            await asyncio.Event().wait()
        finally:
            self._ending.set()
            await asyncio.to_thread(thread.join, _STOP_SECONDS)
            if thread.is_alive():
                log.warning("Leaving with spans that %s did not take", self._settings.otlp_endpoint)

    def _deliver_forever(self) -> None:
        try:
            # Imported only where it is asked for, and here, so that the event loop does not wait for it.
            from routerd.otlp import Exporter

            exporter = Exporter(self._settings)
            while not self._ending.wait(_PAUSE_SECONDS):
                self._deliver(exporter)
            self._deliver(exporter)
        except Exception:  # tracing may end, routing must not
            self._open = False
            log.exception("No spans are delivered any more; requests are routed as before")

    def _deliver(self, exporter: "Exporter") -> None:
        """Deliver what is in the queue."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            before = time.thread_time()
            refused, problem = exporter.export(batch)
            self._refused += refused
            self._tell(problem or self._overflow())
            self._ending.wait(time.thread_time() - before)  # at most half a core: the other parts need theirs

    def _overflow(self) -> str:
        seen, self._noticed = self._noticed, self._overflowed
        return _TOO_FAST if self._noticed > seen else ""

    def _tell(self, problem: str) -> None:
        """One line when spans begin to be lost, one when they are not any more."""
        if problem and not self._away:
            log.warning("Dropping spans for %s: %s", self._settings.otlp_endpoint, problem)
        if self._away and not problem:
            log.info("Spans reach %s again; dropped until now: %d", self._settings.otlp_endpoint, self.dropped)
        self._away = bool(problem)
