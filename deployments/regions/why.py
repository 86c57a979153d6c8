"""Why N replicas? The router's sum for one deployment, its bounds, the room left, and what was decided lately."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deployments.charts.scaling import ScaleRule, Sum, explain_scale
from deployments.models import Endpoint, ScaleDecision
from deployments.regions.deployments import DeploymentRow
from deployments.regions.room import room_for

SHOWN_DECISIONS = 5


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One change of the replicas wanted, or a bound that stopped one."""

    id: int
    deployment: str
    at: datetime
    before: int
    after: int
    reason: str
    ready_after_seconds: float | None

    @property
    def mark(self) -> str:
        """The sprite's triangle."""
        return "up" if self.after > self.before else "dn" if self.after < self.before else "idle"


@dataclass(frozen=True, slots=True)
class Why:
    """The panel of one deployment."""

    name: str
    wanted: int | None
    sentence: str
    rule: ScaleRule | None
    sum: Sum | None  # None: the load is not known, or the number is fixed
    bounds: str
    room: str
    decisions: tuple[DecisionRow, ...]

    @property
    def title(self) -> str:
        """Why 4 replicas of blue?"""
        if self.wanted is None:
            return f"Why so many replicas of {self.name}?"
        return f"Why {self.wanted} {'replica' if self.wanted == 1 else 'replicas'} of {self.name}?"


def why_region(endpoint: Endpoint, *, row: DeploymentRow) -> Why:
    """The panel for one deployment. One query for decisions, one for its instance type."""
    decisions = decision_rows([row.id], limit=SHOWN_DECISIONS)
    if row.spec is None or not row.spec.scale.automatic:
        fixed = row.spec.instance_count if row.spec else row.wanted
        return Why(
            name=row.name,
            wanted=fixed,
            sentence=f"Because {fixed} was asked for. The router does not change it.",
            rule=None,
            sum=None,
            bounds="Fixed. Edit the deployment to let the router decide.",
            room=room_for(endpoint, instance_type=row.instance_type),
            decisions=decisions,
        )
    scale = row.spec.scale
    rule = ScaleRule(
        auto=True,
        fewest=scale.min_instances,
        most=scale.max_instances,
        target_percent=scale.target_utilization_percentage,
        concurrency=row.concurrency,
        down_after_seconds=scale.scale_down_delay_seconds,
    )
    known = row.in_flight is not None
    found = explain_scale(rule, in_flight=row.in_flight or 0, queued=row.queued or 0) if known else None
    return Why(
        name=row.name,
        wanted=row.wanted,
        sentence=_sentence(rule, found, wanted=row.wanted),
        rule=rule,
        sum=found,
        bounds=_bounds(rule, found),
        room=room_for(endpoint, instance_type=row.instance_type),
        decisions=decisions,
    )


def decision_rows(deployments: Sequence[int], *, limit: int, since: datetime | None = None) -> tuple[DecisionRow, ...]:
    """The newest decisions of these deployments, newest first. One query."""
    rows = ScaleDecision.objects.select_related("deployment").filter(deployment_id__in=deployments)
    if since is not None:
        rows = rows.filter(at__gte=since)
    return tuple(
        DecisionRow(
            id=each.pk,
            deployment=each.deployment.name,
            at=each.at,
            before=each.before,
            after=each.after,
            reason=each.reason,
            ready_after_seconds=(each.ready_at - each.at).total_seconds() if each.ready_at else None,
        )
        for each in rows.order_by("-at", "-pk")[:limit]
    )


def _sentence(rule: ScaleRule, found: Sum | None, *, wanted: int | None) -> str:
    if found is None:
        return "The load is not known now, so the router holds the number. No data is not zero."
    if wanted is not None and wanted > found.wanted:
        return (
            f"{found.wanted} would do for the load now. The router gives replicas back only after "
            f"{rule.down_after_seconds} s of less load."
        )
    if found.unbounded > rule.most:
        return f"Because {rule.most} is the most it may have. The load now would take {found.unbounded}."
    if found.unbounded < rule.fewest:
        return f"Because {rule.fewest} is the fewest it may have. The load now would do with {found.unbounded}."
    busy = found.in_flight + found.queued
    if busy == 0:
        return f"Because nothing is in flight, and {rule.fewest} is the fewest it may have."
    return (
        f"Because {busy:.1f} requests are in flight or waiting, and {found.wanted} is the fewest replicas that keep "
        f"each one at or under {rule.target_percent} % busy."
    )


def _bounds(rule: ScaleRule, found: Sum | None) -> str:
    text = f"{rule.fewest} to {rule.most} replicas."
    if found is None:
        return text
    if found.unbounded > rule.most:
        return f"{text} The most limits it now."
    return f"{text} The fewest holds it now." if found.unbounded < rule.fewest else f"{text} Not limiting now."
