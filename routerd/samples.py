"""What happened lately, numbered, so that a reader can ask for "everything after n" and neither miss nor repeat.

Two rings use it: samples (one a second and deployment) and decisions. A ring keeps what is younger than `seconds`, and
never more than `limit` records however many deployments there are: 1,000 of them get a shorter memory, not more of it.
The studio reads every few seconds, so minutes are enough.

A reader asking for a number that is no longer there gets what is there; asking beyond the end (the router restarted
and counts anew) gets everything, because that number cannot be one of ours.

A decision changes once after it was made: the moment the replicas it asked for are ready. The changed record is
appended again under a new number but with its old `id`, so that readers who only ask for what is new hear of it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypeVar

from routerd.autoscale.policy import Figures

KEEP_SECONDS: Final = 15 * 60.0
SAMPLE_LIMIT: Final = 120_000  # 15 minutes of 133 deployments, 2 minutes of 1,000; under 100 MB
DECISION_LIMIT: Final = 20_000


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests answered in a window, by class; 429 is not counted in `4xx`."""

    ok: int = 0
    refused: int = 0  # 4xx but for 429
    throttled: int = 0  # 429
    failed: int = 0  # 5xx

    @property
    def total(self) -> int:
        """All of them."""
        return self.ok + self.refused + self.throttled + self.failed

    def to_json(self) -> dict[str, int]:
        """{"2xx", "4xx", "429", "5xx"}."""
        return {"2xx": self.ok, "4xx": self.refused, "429": self.throttled, "5xx": self.failed}

    def __add__(self, other: "Requests") -> "Requests":
        return Requests(
            ok=self.ok + other.ok,
            refused=self.refused + other.refused,
            throttled=self.throttled + other.throttled,
            failed=self.failed + other.failed,
        )


class Sample(NamedTuple):  # a thousand of them are made every second, which takes a dataclass five times as long
    """One deployment during `seconds` up to `at` (unix); in flight and queued are means over that time."""

    at: float
    seconds: float
    namespace: str
    endpoint: str
    deployment: str
    requests: Requests
    latency_ms: tuple[float, float, float] | None  # p50, p95, p99; None when no request was seen
    in_flight: float
    queued: float
    concurrency: int
    replicas_ready: int
    replicas_wanted: int | None  # None: the workload is not known (yet)
    held: float  # waiting while there is no replica, mean
    seq: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """(namespace, endpoint, deployment)."""
        return self.namespace, self.endpoint, self.deployment

    @property
    def is_idle(self) -> bool:
        """Nothing happened."""
        return not (self.requests.total or self.latency_ms or self.in_flight or self.queued or self.held)

    @property
    def counts(self) -> tuple[int, int, int | None]:
        """(concurrency, replicas ready, replicas wanted)."""
        return self.concurrency, self.replicas_ready, self.replicas_wanted

    # `_make` of all values takes a third of what `_replace` of one does.
    def again(self, *, at: float, seconds: float) -> Self:
        """The same a little later."""
        return type(self)._make((at, seconds, *self[2:]))

    def numbered(self, seq: int) -> Self:
        """The same as a ring's record."""
        return type(self)._make((*self[:-1], seq))

    def to_json(self) -> dict[str, Any]:
        """The record as the admin API sends it."""
        latency = dict(zip(("p50", "p95", "p99"), self.latency_ms, strict=True)) if self.latency_ms else None
        return self._asdict() | {"requests": self.requests.to_json(), "latency_ms": latency}


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of a deployment's replica count, or (`before` == `after`) a bound that stopped one."""

    at: float
    namespace: str
    endpoint: str
    deployment: str
    before: int
    after: int
    reason: str
    figures: Figures
    ready_at: float | None = None  # when as many replicas as asked for were ready
    id: int = 0  # the first number this decision had: stays when it is told again
    seq: int = 0

    def numbered(self, seq: int) -> Self:
        """The same as a ring's record."""
        return replace(self, seq=seq)

    def to_json(self) -> dict[str, Any]:
        """The record as the admin API sends it; `before` and `after` are called `from` and `to`."""
        plain = asdict(self)
        return {"from": plain.pop("before"), "to": plain.pop("after"), **plain}


class _Numbered(Protocol):
    @property
    def at(self) -> float: ...

    @property
    def seq(self) -> int: ...

    def numbered(self, seq: int) -> Self: ...


Record = TypeVar("Record", bound=_Numbered)


class Ring(Generic[Record]):
    """The last records by number; numbers start at 1 and grow by one."""

    def __init__(self, *, limit: int, seconds: float = KEEP_SECONDS) -> None:
        self._records: deque[Record] = deque(maxlen=limit)
        self._seconds = seconds
        self._last = 0

    @property
    def last(self) -> int:
        """The highest number given so far, 0 before the first."""
        return self._last

    def append(self, record: Record) -> Record:
        """Number the record and keep it; gives back the numbered one."""
        self.extend([record])
        return record.numbered(self._last)

    def extend(self, records: Sequence[Record]) -> None:
        """Keep them one after the other, as long as the last of them asks for; readers number what they read."""
        if not records:
            return
        self._records.extend(records)
        self._last += len(records)
        while self._records[0].at <= records[-1].at - self._seconds:
            self._records.popleft()

    def after(self, seq: int, *, limit: int) -> tuple[list[Record], int]:
        """(at most `limit` records numbered above `seq`, what to ask after next time).

        A `seq` beyond the end is none of ours, and gives everything from the start.
        """
        before = self._last - len(self._records)  # the number of the last one that is gone
        skip = 0 if seq > self._last else max(0, seq - before)
        found = islice(self._records, skip, skip + limit)
        numbered = [record.numbered(number) for number, record in enumerate(found, before + skip + 1)]
        return numbered, numbered[-1].seq if numbered else self._last

    def __len__(self) -> int:
        return len(self._records)


class History:
    """Samples and decisions of this router since it started."""

    def __init__(self) -> None:
        self.samples: Ring[Sample] = Ring(limit=SAMPLE_LIMIT)
        self.decisions: Ring[Decision] = Ring(limit=DECISION_LIMIT)

    def decide(self, decision: Decision) -> Decision:
        """Keep a new decision; its `id` is the number it gets."""
        return self.decisions.append(replace(decision, id=self.decisions.last + 1))

    def mark_ready(self, decision: Decision, *, at: float) -> Decision:
        """Tell a decision again, now with the time its replicas were ready."""
        return self.decisions.append(replace(decision, ready_at=at))
