"""The rule of lost requests (design), as a judge: which event may have cost a request, if any. Pure.

Planned events lose nothing. What dies loses what it was answering or had been sent, and nothing else:

    a replica   the requests it had when it died
    HAProxy     all that callers send to that router until it is back; of what came by another router, what stood in
                its line when it died (so only if it was the owner)
    a router    what it had when it died, in both ways; nobody is sent to it any more
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

REPLICA_KILLED: Final = "replica_killed"
HAPROXY_KILLED: Final = "haproxy_killed"
ROUTER_KILLED: Final = "router_killed"
UNEXPLAINED: Final = "unexplained"
_OTHER_ROUTER_DIED: Final = "router_broke_off"


@dataclass(frozen=True)
class Outcome:
    """How one request ended; `status` 0: without any answer. Times in seconds of the monotonic clock."""

    number: int
    sent: float
    ended: float
    status: int
    reason: str = ""
    through: str = ""  # address of the router the caller was connected to
    tls: bool = False

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True)
class Killed:
    """A router of which something was killed: `gone` is when all of that had ended."""

    router: str  # its address
    gone: float
    owner: bool  # whether the requests of all routers stood in its line


@dataclass(frozen=True)
class Event:
    """Something that was done to the routers, from its beginning until all was well again."""

    kind: str
    begin: float
    end: float
    killed: Killed | None = None


def explain(outcome: Outcome, *, events: Iterable[Event]) -> str:
    """Which event a request that failed may have failed by, or UNEXPLAINED."""
    return next((event.kind for event in events if _may_cost(event, outcome)), UNEXPLAINED)


def _may_cost(event: Event, outcome: Outcome) -> bool:
    # (On a connection that was kept alive HAProxy says nothing and closes it.)
    if event.kind == REPLICA_KILLED:
        return outcome.status in (0, 502) and outcome.sent <= event.begin <= outcome.ended
    if event.killed is None:
        return False
    had_it = outcome.sent <= event.killed.gone and outcome.ended >= event.begin
    if outcome.through == event.killed.router:
        down = event.kind == HAPROXY_KILLED and outcome.sent <= event.end and outcome.ended >= event.begin
        return outcome.status == 0 and (had_it or down)
    told = outcome.status == 0 or (outcome.status == 502 and outcome.reason == _OTHER_ROUTER_DIED)
    return event.killed.owner and had_it and told


def describe(outcome: Outcome, *, events: Iterable[Event]) -> str:
    """One line about a request nobody can explain: how it ended, and what was going on before it did."""
    before = [event for event in events if event.begin <= outcome.ended]
    last = f"{outcome.ended - before[-1].begin:.3f} s after {before[-1].kind} began" if before else "before any event"
    took = f"{outcome.ended - outcome.sent:.3f} s"
    way = f"by {'TLS' if outcome.tls else 'HTTP'} through {outcome.through or 'nobody'}"
    return f"request {outcome.number} {way}: {outcome.status} {outcome.reason} after {took}, {last}"
