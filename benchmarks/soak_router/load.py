"""Open-loop callers, and an explanation for everything they got but a 2xx.

The rule (design): planned events lose nothing. What dies loses what it was answering, or had been sent, and nothing
else. So a request may fail when a replica or HAProxy was killed between its sending and its end, or while HAProxy was
not there; anything else is unexplained.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import aiohttp

REPLICA_KILLED: Final = "replica_killed"
HAPROXY_KILLED: Final = "haproxy_killed"
UNEXPLAINED: Final = "unexplained"
_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Outcome:
    """How one request ended; `status` 0: without any answer. Times in seconds of the monotonic clock."""

    number: int
    sent: float
    ended: float
    status: int
    reason: str = ""

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Event:
    """Something that was done to the router, from its beginning until all was well again."""

    kind: str
    begin: float
    end: float


def explain(outcome: Outcome, *, events: Iterable[Event]) -> str:
    """Which event a request that failed may have failed by, or UNEXPLAINED."""
    for event in events:
        overlaps = outcome.sent <= event.end and outcome.ended >= event.begin
        if event.kind == HAPROXY_KILLED and overlaps and outcome.status in (0, 502):
            return HAPROXY_KILLED
        during = outcome.sent <= event.begin <= outcome.ended
        # (On a connection that was kept alive HAProxy says nothing and closes it.)
        if event.kind == REPLICA_KILLED and during and outcome.status in (0, 502):
            return REPLICA_KILLED
    return UNEXPLAINED


def describe(outcome: Outcome, *, events: Iterable[Event]) -> str:
    """One line about a request nobody can explain: how it ended, and what was going on before it did."""
    before = [event for event in events if event.begin <= outcome.ended]
    last = f"{outcome.ended - before[-1].begin:.3f} s after {before[-1].kind} began" if before else "before any event"
    took = f"{outcome.ended - outcome.sent:.3f} s"
    return f"request {outcome.number}: {outcome.status} {outcome.reason} after {took}, {last}"


@dataclass
class Load:
    """Requests at a steady rate, whatever becomes of those before."""

    url: str
    key: str
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for the last answers."""
        dice, number, due = random.Random(7), 0, time.monotonic()
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not stop.is_set():
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                call = asyncio.create_task(self._call(session, number))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
                number, due = number + 1, due + dice.expovariate(self.rate)
            await asyncio.gather(*self._calls)

    async def _call(self, session: aiohttp.ClientSession, number: int) -> None:
        sent, status, reason = time.monotonic(), 0, ""
        headers = {"authorization": f"Bearer {self.key}"}
        try:
            async with session.post(f"{self.url}?n={number}", data=b"{}", headers=headers) as answer:
                await answer.read()
                status, reason = answer.status, answer.headers.get("x-slipway-reason", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        self.outcomes.append(Outcome(number, sent, time.monotonic(), status, reason))

    def count(self, events: Iterable[Event]) -> tuple[Counter[str], list[Outcome]]:
        """(failed requests by explanation, those without one)."""
        known = list(events)
        told = [(explain(o, events=known), o) for o in self.outcomes if not o.good]
        return Counter(why for why, _ in told), [o for why, o in told if why == UNEXPLAINED]
