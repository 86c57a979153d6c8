"""The Metrics tab: four figures of one deployment or of all, what they say now, and the decisions behind them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from deployments.charts.buckets import Point, Span, make_timeline
from deployments.charts.figures import Mark, make_figures
from deployments.models import Deployment, Endpoint
from deployments.regions.deployments import in_order, spec_of
from deployments.regions.samples import read_buckets
from deployments.regions.truth import milliseconds, per_second
from deployments.regions.why import DecisionRow, decision_rows

MOST_DECISIONS = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """A deployment to look at; "" is all of them."""

    name: str
    label: str
    series: str


class Now(NamedTuple):
    """A figure in words: what stands before it, the figure, what comes after."""

    before: str
    figure: str
    after: str


@dataclass(frozen=True)
class Metrics:
    """What the tab shows: figures for the script, the figures of now and the decisions for everybody."""

    figures: dict[str, Any]
    now: dict[str, Now]
    empty: bool
    step: int
    decisions: tuple[DecisionRow, ...]
    target: int | None

    def to_json(self) -> dict[str, Any]:
        """For charts.js."""
        return {"figures": self.figures, "now": self.now, "empty": self.empty, "step": self.step}


def metric_choices(deployments: Sequence[Deployment]) -> list[Choice]:
    """All, then each deployment in its colour."""
    each = [Choice(d.name, d.name, f"k{i % 4 + 1}") for i, d in enumerate(in_order(deployments))]
    return [Choice("", "All", ""), *each]


def metrics_region(endpoint: Endpoint, *, only: str, span: Span, now: datetime) -> Metrics:
    """Figures of the span. Three queries."""
    deployments = [each for each in endpoint.deployments.all() if only in ("", each.name)]
    ids = [each.pk for each in deployments]
    found = read_buckets(ids, span=span, now=now)
    timeline = make_timeline([bucket for each in found.values() for bucket in each], span=span, now=now)
    decisions = decision_rows(ids, limit=MOST_DECISIONS, since=now - timedelta(seconds=span.seconds))
    target = _target(deployments) if only else None
    marks = [Mark(d.id, d.at, d.before, d.after, d.reason, d.deployment) for d in decisions]
    return Metrics(
        figures=make_figures(timeline, marks=marks, target_percent=target),
        now=_now(timeline.latest()),
        empty=timeline.empty,
        step=span.step,
        decisions=decisions,
        target=target,
    )


def _target(deployments: Sequence[Deployment]) -> int | None:
    spec = spec_of(deployments[0]) if deployments else None
    return spec.scale.target_utilization_percentage if spec and spec.scale.automatic else None


def _now(point: Point | None) -> dict[str, Now]:
    """The figures of now in words; said so where nothing reports."""
    if point is None:
        return dict.fromkeys(("requests", "latency", "slots", "replicas"), Now("", "", "not reporting"))
    return {
        "requests": Now("", per_second(point.requests) if point.requests else "0", " req/s"),
        "latency": Now("p95 ", milliseconds(point.p95_ms), "")
        if point.p95_ms is not None
        else Now("", "", "no request now"),
        "slots": Now("", f"{point.in_flight:.1f}", f" of {point.slots} slots, {point.queued:.0f} queued"),
        "replicas": Now("", str(point.replicas_ready), f" ready, {point.replicas_wanted} wanted"),
    }
