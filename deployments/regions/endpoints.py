"""The list of endpoints: worst first, a page at a time, in a constant number of queries.

Ranking needs all endpoints of the workspace, but of each only a few columns, and of measurements only those that tell
of trouble; what a row shows (replicas, the last minute, the last hour) is read for the rows of the page alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q

from clusters.models import ComputeTarget
from deployments.charts.buckets import Bucket
from deployments.charts.sparks import Spark, make_spark
from deployments.models import Deployment, DeploymentState, Endpoint, MetricSample
from deployments.regions.minutes import Minutes, add_up, read_minutes
from deployments.regions.observed import read_observed
from deployments.regions.samples import read_recent
from deployments.regions.truth import (
    GROUPS,
    NEEDS_YOU,
    DeploymentFacts,
    EndpointFacts,
    Load,
    Truth,
    tell_endpoint,
)
from studio.models import Workspace

PAGE: Final = 50
LOAD_SECONDS: Final = 60
# What the router's Ready condition says besides refusals (routerd/conditions.py).
NO_TRAFFIC: Final = "NoTraffic"
NO_READY_REPLICA: Final = "NoReadyReplica"
_SIMPLE: Final = (DeploymentState.HEALTHY, DeploymentState.STOPPED)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint of the list."""

    name: str
    truth: Truth
    cluster: str
    target: str
    rps: float | None  # None: nothing was measured in the last minute
    p95_ms: float | None
    not_answered: float | None  # share of 429 and 5xx, 0 to 1
    ready: int | None
    wanted: int | None
    spark: Spark | None

    @property
    def not_answered_percent(self) -> str:
        """3.1; one digit says enough."""
        return f"{(self.not_answered or 0) * 100:.1f}"


@dataclass(frozen=True, slots=True)
class EndpointGroup:
    """Rows under one heading: Needs you, Watch, Fine, Idle."""

    title: str
    rows: tuple[EndpointRow, ...]


@dataclass(frozen=True, slots=True)
class EndpointList:
    """A page of the list, and the sentence over it."""

    groups: tuple[EndpointGroup, ...]
    total: int
    found: int  # as many as the search left
    page: int
    pages: int
    needing: tuple[str, ...]

    @property
    def truth(self) -> Truth:
        """Over the list."""
        if not self.needing:
            many = "Your endpoint is" if self.total == 1 else f"All {self.total:,} endpoints are"
            return Truth(
                "ok", "Fine", f"{many} as you left them." if self.total > 1 else "Nothing needs you.", "", "Fine"
            )
        verb = "needs" if len(self.needing) == 1 else "need"
        shown = ", ".join(self.needing[:3]) + (" and others" if len(self.needing) > 3 else "")
        return Truth(
            "warn", "Attention", f"{len(self.needing)} of {self.total:,} endpoints {verb} you.", f"{shown}.", NEEDS_YOU
        )


@dataclass(frozen=True, slots=True)
class Behind:
    """A deployment as the list needs it. `observed` is {} where it was not read: a healthy one that is not shown."""

    id: int
    name: str
    state: str
    observed: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Ranked:
    endpoint: Endpoint
    deployments: tuple[Behind, ...]
    truth: Truth


def endpoint_list(workspace: Workspace, *, now: datetime, page: int = 1, find: str = "") -> EndpointList:
    """A page of the workspace's endpoints. At most ten queries, however many there are."""
    columns = ("name", "traffic", "mirror", "deleting", "observed", "target_id")
    endpoints = list(Endpoint.objects.filter(workspace=workspace).only(*columns).order_by())
    behind = _read_behind(workspace)
    troubled = read_recent(_in_trouble(workspace, now=now), now=now, seconds=LOAD_SECONDS)
    ranked = sorted(
        (_rank(each, behind=behind.get(each.pk, ()), recent=troubled) for each in endpoints),
        key=lambda each: (*each.truth.rank, each.endpoint.name),
    )
    found = [each for each in ranked if find.lower() in each.endpoint.name]
    pages = max(1, -(-len(found) // PAGE))
    page = min(page, pages)
    return EndpointList(
        groups=tuple(_groups(_rows(found[(page - 1) * PAGE : page * PAGE], now=now))),
        total=len(ranked),
        found=len(found),
        page=page,
        pages=pages,
        needing=tuple(each.endpoint.name for each in ranked if each.truth.group == NEEDS_YOU),
    )


def _read_behind(workspace: Workspace) -> dict[int, tuple[Behind, ...]]:
    """All deployments by endpoint; what was observed only of those that are not simply healthy."""
    mine = Deployment.objects.filter(endpoint__workspace=workspace).order_by("created_at", "pk")
    observed = dict(mine.exclude(state__in=_SIMPLE).values_list("pk", "observed"))
    found: dict[int, list[Behind]] = {}
    for pk, endpoint, name, state, deleting in mine.values_list("pk", "endpoint_id", "name", "state", "deleting"):
        seen = observed.get(pk, {})
        found.setdefault(endpoint, []).append(Behind(pk, name, "updating" if deleting else state, seen))
    return {endpoint: tuple(each) for endpoint, each in found.items()}


def _in_trouble(workspace: Workspace, *, now: datetime) -> list[int]:
    """Deployments that turned callers away or failed them in the last minute."""
    since = now - timedelta(seconds=LOAD_SECONDS)
    rows = MetricSample.objects.filter(Q(turned_away__gt=0) | Q(failed__gt=0), at__gt=since, at__lte=now)
    mine = rows.filter(deployment__endpoint__workspace=workspace)
    return list(mine.order_by().values_list("deployment_id", flat=True).distinct())


def _rank(endpoint: Endpoint, *, behind: tuple[Behind, ...], recent: Mapping[int, Bucket]) -> _Ranked:
    truth = tell_endpoint(endpoint_facts(endpoint, behind=behind, recent=recent))
    return _Ranked(endpoint=endpoint, deployments=behind, truth=truth)


def behind_of(deployments: Sequence[Deployment]) -> tuple[Behind, ...]:
    """Deployments that were read whole."""
    return tuple(
        Behind(each.pk, each.name, "updating" if each.deleting else each.state, each.observed) for each in deployments
    )


def endpoint_facts(endpoint: Endpoint, *, behind: Sequence[Behind], recent: Mapping[int, Bucket]) -> EndpointFacts:
    """What the sentence is made from; `recent` is the last minute by deployment."""
    serving = [each for each in behind if endpoint.traffic.get(each.name)]
    return EndpointFacts(
        traffic=endpoint.traffic,
        mirror=endpoint.mirror,
        deployments=[_facts(each) for each in behind],
        load=load_of([recent[each.id] for each in serving if each.id in recent]),
        deleting=endpoint.deleting,
        router_says=_refusal(endpoint, endpoint.observed or {}),
    )


def _refusal(endpoint: Endpoint, observed: Mapping[str, Any]) -> str:
    """The router's words when it refuses the endpoint as a whole. Being without replicas is told by the deployments."""
    if not endpoint.traffic or observed.get("ready") is not False:
        return ""
    reason = observed.get("reason", "")
    return "" if reason in ("", NO_TRAFFIC, NO_READY_REPLICA) else str(observed.get("message", ""))


def _facts(each: Behind) -> DeploymentFacts:
    seen = read_observed(each.observed, state=each.state)
    return DeploymentFacts(
        name=each.name, state=each.state, ready=seen.ready, wanted=seen.wanted, text=seen.why, cause=seen.cause
    )


def load_of(buckets: Sequence[Bucket]) -> Load | None:
    """The last minute over some deployments; None when nothing was measured."""
    known = [each for each in buckets if each.known_seconds > 0]
    if not known:
        return None
    requests = sum(each.requests for each in known)
    weights = [(each.p95_ms, each.requests) for each in known if each.p95_ms is not None]
    weight = sum(count for _, count in weights)
    return Load(
        rps=sum(each.requests / each.known_seconds for each in known),
        p95_ms=sum((value or 0) * count for value, count in weights) / weight if weight else None,
        turned_away=sum(each.turned_away for each in known) / requests if requests else 0.0,
        failed=sum(each.failed for each in known) / requests if requests else 0.0,
    )


def _rows(shown: Sequence[_Ranked], *, now: datetime) -> list[EndpointRow]:
    ids = [each.id for one in shown for each in one.deployments]
    recent = read_recent(ids, now=now, seconds=LOAD_SECONDS)
    minutes = read_minutes(ids, now=now)
    observed = dict(Deployment.objects.filter(pk__in=ids).values_list("pk", "observed"))
    targets = ComputeTarget.objects.filter(pk__in={one.endpoint.target_id for one in shown})
    places = {pk: (name, cluster) for pk, name, cluster in targets.values_list("pk", "name", "cluster__name")}
    return [
        _row(one, place=places[one.endpoint.target_id], recent=recent, minutes=minutes, observed=observed)
        for one in shown
    ]


def _row(
    one: _Ranked,
    *,
    place: tuple[str, str],
    recent: Mapping[int, Bucket],
    minutes: Mapping[int, Minutes],
    observed: Mapping[int, Mapping[str, Any]],
) -> EndpointRow:
    behind = [replace(each, observed=observed.get(each.id, {})) for each in one.deployments]
    facts = endpoint_facts(one.endpoint, behind=behind, recent=recent)
    called = [minutes[each.id] for each in behind if facts.traffic.get(each.name)]
    load = facts.load
    return EndpointRow(
        name=one.endpoint.name,
        truth=tell_endpoint(facts),
        cluster=place[1],
        target=place[0],
        rps=load.rps if load else None,
        p95_ms=load.p95_ms if load else None,
        not_answered=load.turned_away + load.failed if load and load.rps else None,
        ready=_total([each.ready for each in facts.deployments]),
        wanted=_total([each.wanted for each in facts.deployments]),
        spark=make_spark(add_up(called)),
    )


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _groups(rows: Sequence[EndpointRow]) -> list[EndpointGroup]:
    found = [
        EndpointGroup(title=title, rows=tuple(row for row in rows if row.truth.group == title)) for title in GROUPS
    ]
    return [group for group in found if group.rows]
