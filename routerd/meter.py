"""Turns looks at HAProxy and records of its log into loads and samples: pure, with the time as a parameter.

Counters are exact but know no latency and count a 429 as any 4xx; log records know both, but successes are sampled.
Errors are always logged, so the log's count of 429s is exact as long as no line is dropped.

A model that takes one request at a time is either idle or fully busy, so one look a second would be a coin toss: load
is the mean of the looks of the last second.

Most looks of most routers find nothing going on. Those are kept once for all deployments, and a sample that says
nothing new is the last one with another time: a thousand idle deployments cost next to nothing.

Counters belong to slots and restart with HAProxy: one that fell started again from zero. They are kept of slots that
serve nobody too, so that the first requests of a new owner count. An owner of two slots (while it changes its wait
class) has both added.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from routerd.autoscale.policy import Load
from routerd.haproxy.config import LOG_FIELDS
from routerd.haproxy.first_passages import BackendStat
from routerd.haproxy.problems import ANSWERS
from routerd.routes import DeploymentRoute, RoutingTable
from routerd.samples import Requests, Sample
from routerd.slots import SlotOwner, SlotTable

_LOAD_SECONDS: Final = 1.0  # the load is the mean over this
_UNKNOWN_SECONDS: Final = 1.5  # without a look for so long, the load is unknown

Quantiles = tuple[float, float, float]

_INDEX: Final = {name: place for place, (name, _) in enumerate(LOG_FIELDS)}
_OTHER_NUMBERS: Final = frozenset({"status", "bytes_in", "bytes_out", "queue_position"})
# Of the fields of a record: those that are numbers, and what stands where nothing is known.
NUMBERS: Final = _OTHER_NUMBERS | {name for name in _INDEX if name.endswith(("_ms", "_connections"))}
NOT_KNOWN: Final = frozenset({"", "-", "-1", "<NOSRV>"})


@dataclass(frozen=True, slots=True)
class AccessRecord:
    """What the meter needs of one logged request; times in milliseconds."""

    slot: str
    status: int
    total_ms: float
    service_ms: float  # what the replica took: without receiving the request and without waiting
    refused: bool  # the router's own quick answer, which says nothing about the model's latency


def split_record(line: bytes) -> list[str] | None:
    """The fields of one line of HAProxy's access log, in the order of LOG_FIELDS; None for anything else."""
    fields = line.decode("utf-8", "replace").rstrip("\n").split("\t")
    return fields if len(fields) == len(LOG_FIELDS) else None


def known_fields(fields: Sequence[str]) -> dict[str, str | int]:
    """What is known of a request, by the names of LOG_FIELDS: numbers as numbers, unknown fields left out."""
    return {
        name: int(value) if name in NUMBERS and value.isdigit() else value
        for name, value in zip(_INDEX, fields, strict=True)
        if value not in NOT_KNOWN
    }


def ended_at(fields: Sequence[str], *, now: float) -> float:
    """When the request of a record ended (unix seconds), by HAProxy's clock; `now` where the record does not say."""
    try:
        lasted_ms = sum(int(fields[_INDEX[name]]) for name in ("handshake_ms", "idle_ms", "total_ms"))
        return min(now, float(fields[_INDEX["accepted"]]) + lasted_ms / 1000)
    except ValueError:
        return now


def read_record(fields: Sequence[str]) -> AccessRecord | None:
    """What the meter needs of a record; None when the request never got as far as a slot."""
    slot, reason = fields[_INDEX["slot"]], fields[_INDEX["reason"]]
    if slot in ("", "-"):
        return None
    try:
        status, total = int(fields[_INDEX["status"]]), int(fields[_INDEX["total_ms"]])
        waited = max(0, int(fields[_INDEX["receive_ms"]])) + max(0, int(fields[_INDEX["queue_ms"]]))
    except ValueError:
        return None
    held = fields[_INDEX["held_ms"]]
    waited += int(held) if held.isdigit() else 0
    return AccessRecord(
        slot=slot,
        status=status,
        total_ms=total,
        service_ms=max(0, total - waited),
        refused=reason not in ("", "-") and status not in (502, 504),
    )


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a deployment: requests at replicas, waiting for one, and held for the first."""

    at: float
    in_flight: int
    queued: int
    held: int
    arrived: int  # since the look before


@dataclass(slots=True)
class _Window:
    """What happened to one deployment since its last sample."""

    since: float
    looks: list[Look] = field(default_factory=list)
    requests: Requests = field(default_factory=Requests)
    throttled: int = 0  # from the log
    latencies: list[tuple[float, int]] = field(default_factory=list)  # (milliseconds, requests it stands for)

    @property
    def is_idle(self) -> bool:
        """Nothing happened."""
        return not (self.looks or self.throttled or self.latencies or self.requests.total)


class LoadMeter:
    """What is known of every deployment's load, in this process."""

    def __init__(self) -> None:
        self._counters: Mapping[str, BackendStat] = {}  # of all slots, at the last look
        self._owners: Mapping[str, SlotOwner] = {}  # whose the slots were then
        self._looked_at = 0.0
        self._quiet: deque[float] = deque()  # when nothing was going on at any of them
        self._quiet_looks = 0  # of these, since the last samples
        self._recent: dict[SlotOwner, deque[Look]] = {}
        self._windows: dict[SlotOwner, _Window] = {}
        self._owed: dict[SlotOwner, int] = {}  # 429s told by the log and not yet counted as a 4xx
        self._service: dict[str, list[float]] = {}  # slot -> milliseconds
        self.refusals: dict[str, int] = {}  # the router's own answers by reason, since this process started
        self.totals: dict[SlotOwner, Requests] = {}  # since this process started, for the metrics
        self.last_sample: dict[SlotOwner, Sample] = {}

    def look(self, stats: Mapping[str, BackendStat], *, held: Mapping[str, int], slots: SlotTable, now: float) -> None:
        """Take in one reading of HAProxy: counters and held requests per slot, and whose the slots are.

        The very reading of the last time (`Runtime` keeps it while nothing is going on) and nobody held: all are idle.
        """
        self._looked_at = now
        if stats is self._counters and slots.owners is self._owners and not held:
            self._quiet_looks += 1
            self._quiet.append(now)
            while self._quiet[0] <= now - _LOAD_SECONDS:
                self._quiet.popleft()
            return
        seen: dict[SlotOwner, Look] = {}
        for slot, owner in slots.owners.items():
            if stat := stats.get(slot):
                arrived = self._count(stat, owner=owner, now=now)
                look = seen.get(owner) or Look(now, 0, 0, 0, 0)
                seen[owner] = Look(
                    at=now,
                    in_flight=look.in_flight + stat.in_flight,
                    queued=look.queued + stat.queued,
                    held=look.held + held.get(slot, 0),
                    arrived=look.arrived + arrived,
                )
        for owner, look in seen.items():
            self._window(owner, now=now).looks.append(look)
            recent = self._recent.setdefault(owner, deque())
            recent.append(look)
            while recent[0].at <= now - _LOAD_SECONDS:
                recent.popleft()
        self._counters, self._owners = stats, slots.owners
        self._forget(set(slots.owners.values()))

    def record(self, record: AccessRecord, *, owner: SlotOwner, weight: int, now: float) -> None:
        """Take in one logged request that stands for `weight` requests."""
        window = self._window(owner, now=now)
        if record.status == 429 and record.refused:
            window.throttled += 1
        if not record.refused:
            window.latencies.append((record.total_ms, weight))
            self._service.setdefault(record.slot, []).append(record.service_ms)

    def refuse(self, reason: str) -> None:
        """Take in one answer the router gave itself; a reason it does not have is none."""
        if reason in ANSWERS:
            self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def take_service_times(self) -> dict[str, float]:
        """Mean seconds a replica took for one request, per slot, of those logged since the last call."""
        taken, self._service = self._service, {}
        return {slot: _mean(times) / 1000 for slot, times in taken.items()}

    def is_blind(self, *, now: float) -> bool:
        """Nobody has looked lately, so that no load is known."""
        return now - self._looked_at > _UNKNOWN_SECONDS

    def load(self, owner: SlotOwner, *, now: float) -> Load | None:
        """The mean over the last second; None when nobody has looked lately."""
        recent = self._recent.get(owner)
        if not recent or now - max(recent[-1].at, self._quiet[-1] if self._quiet else 0) > _UNKNOWN_SECONDS:
            return None
        all_looks = sorted((*recent, *(Look(at, 0, 0, 0, 0) for at in self._quiet)), key=lambda look: look.at)
        looks = [look for look in all_looks if look.at > now - _LOAD_SECONDS] or all_looks[-1:]
        return Load(
            in_flight=_mean(look.in_flight for look in looks),
            queued=_mean(look.queued for look in looks),
            held=_mean(look.held for look in looks),
            arrived=sum(look.arrived for look in looks),
        )

    def take_samples(self, table: RoutingTable, *, asked: Mapping[SlotOwner, int], now: float) -> list[Sample]:
        """One sample for every deployment that was looked at since the last call; what was counted starts anew."""
        samples = []
        for endpoint in table.endpoints:
            for route in endpoint.deployments:
                owner = (endpoint.namespace, endpoint.name, route.name)
                window = self._windows.get(owner)
                if window is None or not (window.looks or self._quiet_looks):
                    continue
                sample = self._sample(owner, route=route, window=window, wanted=asked.get(owner), now=now)
                self.last_sample[owner] = sample
                samples.append(sample)
        self._quiet_looks = 0
        return samples

    def _sample(
        self, owner: SlotOwner, *, route: DeploymentRoute, window: _Window, wanted: int | None, now: float
    ) -> Sample:
        """What a window holds; it starts anew."""
        seconds, counts = round(now - window.since, 3), (route.concurrency, len(route.replicas), wanted)
        if window.is_idle and (last := self.last_sample.get(owner)) and last.is_idle and last.counts == counts:
            window.since = now
            return last.again(at=now, seconds=seconds)
        looks, count = window.looks, len(window.looks) + self._quiet_looks
        requests = self._split_429(owner, window=window)
        self._windows[owner] = _Window(since=now)
        self.totals[owner] = self.totals.get(owner, Requests()) + requests
        return Sample(
            at=now,
            namespace=owner[0],
            endpoint=owner[1],
            deployment=owner[2],
            seconds=seconds,
            requests=requests,
            latency_ms=quantiles(window.latencies),
            in_flight=round(sum(look.in_flight for look in looks) / count, 2),
            queued=round(sum(look.queued for look in looks) / count, 2),
            concurrency=route.concurrency,
            replicas_ready=len(route.replicas),
            replicas_wanted=wanted,
            held=round(sum(look.held for look in looks) / count, 2),
        )

    def owners(self) -> list[SlotOwner]:
        """Everything the meter knows of."""
        return list(self._recent)

    def _count(self, stat: BackendStat, *, owner: SlotOwner, now: float) -> int:
        """Add what the slot's counters grew by to its owner's window; requests that arrived."""
        old = self._counters.get(stat.slot)
        if old is None:
            return 0
        window = self._window(owner, now=now)
        window.requests += Requests(
            ok=_grown(old.status_2xx, stat.status_2xx),
            refused=_grown(old.status_4xx, stat.status_4xx),
            failed=_grown(old.status_5xx, stat.status_5xx),
        )
        return _grown(old.requests, stat.requests)

    def _split_429(self, owner: SlotOwner, *, window: _Window) -> Requests:
        """Move the 429s the log told of out of the 4xx; a log record may be a look ahead of its counter."""
        told = window.throttled + self._owed.pop(owner, 0)
        throttled = min(told, window.requests.refused)
        if told > throttled:
            self._owed[owner] = told - throttled
        return replace(window.requests, refused=window.requests.refused - throttled, throttled=throttled)

    def _window(self, owner: SlotOwner, *, now: float) -> _Window:
        return self._windows.setdefault(owner, _Window(since=now))

    def _forget(self, owners: set[SlotOwner]) -> None:
        for known in (self._recent, self._windows, self._owed, self.totals, self.last_sample):
            for owner in [owner for owner in known if owner not in owners]:
                del known[owner]


def quantiles(values: Sequence[tuple[float, int]]) -> Quantiles | None:
    """p50, p95 and p99 by nearest rank of (value, weight) pairs; None when there are none."""
    if not values:
        return None
    ordered = sorted(values)
    total = sum(weight for _, weight in ordered)
    found, cumulated, place = [], 0, -1
    for rank in (0.5, 0.95, 0.99):
        while cumulated < max(1, math.ceil(rank * total)):
            place += 1
            cumulated += ordered[place][1]
        found.append(ordered[place][0])
    return found[0], found[1], found[2]


def _grown(before: int, after: int) -> int:
    """How much a counter grew; one that fell was started again from zero."""
    return after - before if after >= before else after


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else 0.0
