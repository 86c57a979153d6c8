"""The deployments of an endpoint: a row each with replica cells, traffic, load and the sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from deployments.charts.buckets import Bucket
from deployments.models import Deployment, Endpoint
from deployments.queries.desired import good_before_applied
from deployments.regions.observed import Replica, Seen, read_observed
from deployments.regions.samples import read_recent
from deployments.specs import DeploymentSpec, parse_deployment
from studio.errors import FieldErrors

MOST_CELLS: Final = 24
LOAD_SECONDS: Final = 10  # "now" in tables: the mean of the last seconds


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """One deployment as the table, the traffic bar and the panels need it."""

    id: int
    name: str
    series: str  # k1, k2, ...: its colour everywhere on the page
    state: str
    label: str
    sentence: str
    share: int
    mirror: int
    cells: tuple[Replica, ...]
    more: int  # replicas beyond the cells shown
    ready: int | None
    wanted: int | None
    rps: float | None  # None: no data
    in_flight: float | None
    queued: float | None
    slots: int | None
    concurrency: int
    p95_ms: float | None
    model: str
    model_name: str
    model_version: int
    instance_type: str
    revision: int
    applied: int  # the revision whose objects lie in the cluster, 0 when none do
    good_before: int  # the newest revision before that one that worked, 0 when there is none
    updated_at: datetime
    deleting: bool
    spec: DeploymentSpec | None  # None: written by a later Slipway
    written: Mapping[str, Any]  # the spec as it is kept
    seen: Seen

    @property
    def busy_share(self) -> float | None:
        """How busy its slots are, 0 to 1, over all replicas alike: the router hands requests to any free slot."""
        if self.in_flight is None or not self.slots:
            return None
        return min(1.0, self.in_flight / self.slots)

    @property
    def fill(self) -> str:
        """How full a ready replica's cell is drawn, for a style attribute."""
        return f"{self.busy_share or 0:.2f}"


def deployment_rows(endpoint: Endpoint, *, now: datetime) -> list[DeploymentRow]:
    """The endpoint's deployments, by name. Three queries."""
    deployments = list(endpoint.deployments.select_related("model", "environment").order_by("name"))
    for each in deployments:
        each.endpoint = endpoint
    recent = read_recent([each.pk for each in deployments], now=now, seconds=LOAD_SECONDS) if deployments else {}
    good = good_before_applied(deployments)
    return [
        make_row(
            each,
            traffic=endpoint.traffic,
            mirror=endpoint.mirror,
            position=position,
            recent=recent.get(each.pk),
            good_before=good.get(each.pk, 0),
        )
        for position, each in enumerate(in_order(deployments))
    ]


def in_order(deployments: Sequence[Deployment]) -> list[Deployment]:
    """By age: a deployment keeps its colour when another one is added."""
    return sorted(deployments, key=lambda each: (each.created_at, each.pk))


def make_row(
    deployment: Deployment,
    *,
    traffic: Mapping[str, int],
    mirror: Mapping[str, int],
    position: int,
    recent: Bucket | None,
    good_before: int = 0,
) -> DeploymentRow:
    """The row of one deployment; `recent` is its load now, None when nothing was measured."""
    spec, seen = spec_of(deployment), read_observed(deployment.observed, state=deployment.state)
    model = deployment.model
    return DeploymentRow(
        id=deployment.pk,
        name=deployment.name,
        series=f"k{position % 4 + 1}",
        state="updating" if deployment.deleting else deployment.state,
        label="Being deleted" if deployment.deleting else deployment.get_state_display(),
        sentence="Being deleted." if deployment.deleting else seen.sentence,
        share=int(traffic.get(deployment.name, 0)),
        mirror=int(mirror.get(deployment.name, 0)),
        cells=shown_cells(seen.replicas),
        more=max(0, len(seen.replicas) - MOST_CELLS),
        ready=seen.ready,
        wanted=seen.wanted,
        **_load(recent),
        concurrency=spec.request.max_concurrent_requests_per_instance if spec else 1,
        model=str(model) if model else "",
        model_name=model.name if model else "",
        model_version=model.version if model else 0,
        instance_type=spec.instance_type if spec else "",
        revision=deployment.revision,
        applied=deployment.applied_revision,
        good_before=good_before,
        updated_at=deployment.updated_at,
        deleting=deployment.deleting,
        spec=spec,
        written=deployment.spec,
        seen=seen,
    )


def shown_cells(replicas: Sequence[Replica]) -> tuple[Replica, ...]:
    """All of them in their order; of too many those that are not ready first, because nobody may overlook them."""
    if len(replicas) > MOST_CELLS:
        replicas = sorted(replicas, key=lambda each: (each.state != "failed", each.state == "ready"))
    return tuple(replicas[:MOST_CELLS])


def _load(recent: Bucket | None) -> dict[str, Any]:
    """The load of now by field; None throughout when nothing was measured."""
    if recent is None or recent.known_seconds <= 0:
        return dict.fromkeys(("rps", "in_flight", "queued", "slots", "p95_ms"))
    return {
        "rps": recent.requests / recent.known_seconds,
        "in_flight": recent.in_flight_seconds / recent.known_seconds,
        "queued": recent.queued_seconds / recent.known_seconds,
        "slots": recent.slots,
        "p95_ms": recent.p95_ms,
    }


def spec_of(deployment: Deployment) -> DeploymentSpec | None:
    """The spec of its newest revision; None when this version of Slipway cannot read it."""
    try:
        return parse_deployment(deployment.spec)
    except FieldErrors:
        return None
