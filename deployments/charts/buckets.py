"""Time cut into buckets: what the charts draw from.

A chart never has more than 600 points, whatever the span: the samples of a bucket become one point.

    rate         requests of the bucket / seconds it is known for (the newest bucket is usually half full)
    in flight    mean over those seconds, summed over the routers
    p50, p95     mean over the windows, weighed by their requests: percentiles cannot be merged exactly
    p99          the worst window, so that a short spike is not averaged away
    replicas     the most within the bucket

A bucket without a sample is None, and is drawn as a gap: no data is not zero.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

MOST_POINTS: Final = 600


@dataclass(frozen=True, slots=True)
class Span:
    """How far back a chart looks, and how long one of its points is."""

    name: str  # "1h": what stands in the address
    label: str  # "1 h": what people read
    seconds: int
    step: int  # seconds of one bucket

    @property
    def points(self) -> int:
        """Buckets in the span; at most MOST_POINTS."""
        return self.seconds // self.step


SPANS: Final = (
    Span("15m", "15 min", 15 * 60, 2),
    Span("1h", "1 h", 3600, 6),
    Span("6h", "6 h", 6 * 3600, 60),
)


def span_named(name: str | None) -> Span:
    """The span of that name; the first one for any other."""
    return next((span for span in SPANS if span.name == name), SPANS[0])


@dataclass(frozen=True, slots=True)
class Bucket:
    """The samples of one deployment in one bucket, over all routers. Counts are sums; None means no request."""

    index: int  # unix time // step
    known_seconds: float  # how much of the bucket the samples cover
    ok: int
    refused: int  # 4xx but 429
    turned_away: int  # 429
    failed: int  # 5xx
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    in_flight_seconds: float  # sum of in flight x window length
    queued_seconds: float
    slots: int  # replicas ready x requests at once
    replicas_ready: int
    replicas_wanted: int

    @property
    def requests(self) -> int:
        """All answers of the bucket, whatever their status."""
        return self.ok + self.refused + self.turned_away + self.failed


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket as it is drawn, over all deployments asked for."""

    ok: float  # requests a second, as the next three
    refused: float
    turned_away: float
    failed: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    in_flight: float
    queued: float
    slots: int
    replicas_ready: int
    replicas_wanted: int

    @property
    def requests(self) -> float:
        """Answers a second, whatever their status."""
        return self.ok + self.refused + self.turned_away + self.failed


@dataclass(frozen=True, slots=True)
class Timeline:
    """Points of equal length from `start` on; None where nothing was measured."""

    start: datetime
    step: int
    points: tuple[Point | None, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing at all was measured."""
        return all(point is None for point in self.points)

    def latest(self, *, within_seconds: float = 15) -> Point | None:
        """The newest point, None when the last `within_seconds` have none: then nothing is reporting."""
        reach = max(2, math.ceil(within_seconds / self.step) + 1)
        return next((point for point in reversed(self.points[-reach:]) if point is not None), None)


def first_index(span: Span, *, now: datetime) -> int:
    """Index of the first bucket of a span that ends now."""
    return int(now.timestamp()) // span.step - span.points + 1


def make_timeline(buckets: Iterable[Bucket], *, span: Span, now: datetime) -> Timeline:
    """Buckets of any number of deployments, in any order, laid onto the span."""
    first = first_index(span, now=now)
    by_index: dict[int, list[Bucket]] = {}
    for bucket in buckets:
        by_index.setdefault(bucket.index, []).append(bucket)
    points: list[Point | None] = [None] * span.points
    for index, mine in by_index.items():
        point, reach = _point(mine), _reach(mine, step=span.step)
        for position in range(index - first, index - first - reach, -1):
            if 0 <= position < span.points and (position == index - first or position + first not in by_index):
                points[position] = point
    start = datetime.fromtimestamp(first * span.step, tz=now.tzinfo)
    return Timeline(start=start, step=span.step, points=tuple(points))


def _reach(buckets: Sequence[Bucket], *, step: int) -> int:
    """How many buckets these samples speak for: a window that is longer than a bucket covers those before it, too."""
    return max(1, math.ceil(max(each.known_seconds for each in buckets) / step))


def _point(buckets: Sequence[Bucket]) -> Point:
    return Point(
        ok=_rate(buckets, "ok"),
        refused=_rate(buckets, "refused"),
        turned_away=_rate(buckets, "turned_away"),
        failed=_rate(buckets, "failed"),
        p50_ms=_weighed(buckets, "p50_ms"),
        p95_ms=_weighed(buckets, "p95_ms"),
        p99_ms=max((bucket.p99_ms for bucket in buckets if bucket.p99_ms is not None), default=None),
        in_flight=_rate(buckets, "in_flight_seconds"),
        queued=_rate(buckets, "queued_seconds"),
        slots=sum(bucket.slots for bucket in buckets),
        replicas_ready=sum(bucket.replicas_ready for bucket in buckets),
        replicas_wanted=sum(bucket.replicas_wanted for bucket in buckets),
    )


def _rate(buckets: Sequence[Bucket], field: str) -> float:
    return sum(float(getattr(each, field)) / each.known_seconds for each in buckets if each.known_seconds > 0)


def _weighed(buckets: Sequence[Bucket], field: str) -> float | None:
    known = [(getattr(each, field), max(each.requests, 1)) for each in buckets if getattr(each, field) is not None]
    weight = sum(requests for _, requests in known)
    return sum(value * requests for value, requests in known) / weight if weight else None
