"""Reading measurements: grouped in the database, so that six hours of seconds cost 600 rows and not 20,000.

A sample says "the `seconds` up to `at`". A bucket is known for the time its samples reach over, at one router or at
several that took turns.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Avg, F, FloatField, IntegerField, Max, Min, Sum
from django.db.models.expressions import Func

from deployments.charts.buckets import Bucket, Span, first_index
from deployments.models import MetricSample


class BucketIndex(Func):
    """unix time of a column // step, in SQLite and PostgreSQL."""

    output_field = IntegerField()

    def __init__(self, expression: str, *, step: int) -> None:
        super().__init__(F(expression), step=int(step))

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / %(step)s"
        return self.as_sql(compiler, connection, template=template, **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / %(step)s)::bigint"
        return self.as_sql(compiler, connection, template=template, **extra)


def read_buckets(deployments: Collection[int], *, span: Span, now: datetime) -> dict[int, list[Bucket]]:
    """Buckets of the span by deployment id; deployments without a sample are left out. One query."""
    since = datetime.fromtimestamp(first_index(span, now=now) * span.step, tz=now.tzinfo)
    rows = (
        MetricSample.objects.filter(deployment_id__in=deployments, at__gte=since, at__lte=now)
        .order_by()
        .annotate(index=BucketIndex("at", step=span.step))
        .values("deployment_id", "index")
        .annotate(**_SUMS)
    )
    found: dict[int, list[Bucket]] = {}
    for row in rows:
        found.setdefault(row["deployment_id"], []).append(_bucket(row))
    return found


REQUESTS: Any = F("ok") + F("refused") + F("turned_away") + F("failed")


def _weighed(field: str) -> Any:
    return Sum(F(field) * REQUESTS, output_field=FloatField())


_SUMS: dict[str, Any] = {
    "oks": Sum("ok"),
    "refusals": Sum("refused"),
    "turned": Sum("turned_away"),
    "failures": Sum("failed"),
    "p50": _weighed("p50_ms"),
    "p95": _weighed("p95_ms"),
    "p99": Max("p99_ms"),
    "flight": Sum(F("in_flight") * F("seconds")),
    "queue": Sum(F("queued") * F("seconds")),
    "slots": Max(F("replicas_ready") * F("concurrency")),
    "ready": Max("replicas_ready"),
    "wanted": Max("replicas_wanted"),
    "newest": Max("at"),
    "oldest": Min("at"),
    "window": Avg("seconds"),
}


def _bucket(row: Any) -> Bucket:
    requests = row["oks"] + row["refusals"] + row["turned"] + row["failures"]
    return Bucket(
        index=int(row["index"]),
        known_seconds=(row["newest"] - row["oldest"]).total_seconds() + row["window"],
        ok=row["oks"],
        refused=row["refusals"],
        turned_away=row["turned"],
        failed=row["failures"],
        p50_ms=row["p50"] / requests if requests and row["p50"] is not None else None,
        p95_ms=row["p95"] / requests if requests and row["p95"] is not None else None,
        p99_ms=row["p99"],
        in_flight_seconds=row["flight"],
        queued_seconds=row["queue"],
        slots=row["slots"],
        replicas_ready=row["ready"],
        replicas_wanted=row["wanted"],
    )


def read_recent(deployments: Sequence[int], *, now: datetime, seconds: int) -> dict[int, Bucket]:
    """The last `seconds` of each deployment as one bucket. One query."""
    rows = (
        MetricSample.objects.filter(deployment_id__in=deployments, at__gt=now - timedelta(seconds=seconds), at__lte=now)
        .order_by()
        .values("deployment_id")
        .annotate(**_SUMS)
    )
    return {row["deployment_id"]: _bucket(row | {"index": 0}) for row in rows}
