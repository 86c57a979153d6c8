"""What the observing parts of one router share: the meter writes it, the scaler, the status and the admin API read it.

It belongs to a router, and whoever comes first makes it (`board_of`), so that the parts start in any order and none of
them has to know the others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

from routerd.autoscale.policy import Load
from routerd.control import InForce, Router
from routerd.meter import LoadMeter
from routerd.samples import Decision, History
from routerd.slots import SlotOwner
from routerd.tracing import Tracing

_STALE_SECONDS: Final = 3.0  # a report older than this says nothing


@dataclass(frozen=True)
class Report:
    """What another router told of itself at `at` (unix seconds); `loads` holds busy deployments only."""

    at: float
    loads: Mapping[SlotOwner, Load] | None  # None: it does not know
    in_force: Mapping[str, InForce]


@dataclass
class Board:
    """Loads, samples and decisions of one router, and who leads."""

    history: History = field(default_factory=History)
    meter: LoadMeter = field(default_factory=LoadMeter)
    asked: Mapping[SlotOwner, int] = field(default_factory=dict)  # spec.replicas where the workload is known
    last_decision: dict[SlotOwner, Decision] = field(default_factory=dict)
    keys_used: Mapping[tuple[str, str, str], float] = field(default_factory=dict)  # see key_use
    tracing: Tracing | None = None  # None: no collector of traces is named
    leading: bool = False  # this router scales and writes status
    reports: dict[str, Report] = field(default_factory=dict)  # of the other routers, by pod name; the leader's only

    def load(self, owner: SlotOwner, *, others: Iterable[str], now: float) -> Load | None:
        """The load of a deployment over all routers; None while one of them (`others`: pod names) is not known."""
        total = self.meter.load(owner, now=now)
        for name in others:
            report = self.reports.get(name)
            if total is None or report is None or report.loads is None or now - report.at > _STALE_SECONDS:
                return None
            total = add_loads(total, report.loads.get(owner))
        return total

    def load_elsewhere(self, owner: SlotOwner) -> Load:
        """What the other routers last told of a deployment."""
        total = Load(in_flight=0, queued=0)
        for report in self.reports.values():
            total = add_loads(total, (report.loads or {}).get(owner))
        return total


def add_loads(one: Load, other: Load | None) -> Load:
    """Both together; None is nothing."""
    if other is None:
        return one
    return Load(
        in_flight=one.in_flight + other.in_flight,
        queued=one.queued + other.queued,
        held=one.held + other.held,
        arrived=one.arrived + other.arrived,
    )


_BOARDS: Final[WeakKeyDictionary[Router, Board]] = WeakKeyDictionary()


def board_of(router: Router) -> Board:
    """The board of this router, always the same one."""
    return _BOARDS.setdefault(router, Board())
