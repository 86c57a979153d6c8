"""The traffic bar of an endpoint, and the form that moves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.regions.deployments import DeploymentRow
from deployments.regions.truth import per_second


@dataclass(frozen=True, slots=True)
class Share:
    """One piece of the bar."""

    name: str
    series: str
    percent: int
    rps: float | None

    @property
    def rate(self) -> str:
        """330 req/s; no data is not zero."""
        return "no data" if self.rps is None else f"{per_second(self.rps)} req/s" if self.rps else "0 req/s"


@dataclass(frozen=True, slots=True)
class TrafficInput:
    """One line of the form: what is typed and what is wrong with it."""

    name: str
    series: str
    value: str
    error: str
    runs: bool
    said: str  # why it cannot take traffic


@dataclass(frozen=True)
class TrafficRegion:
    """The bar, the mirror under it, and the form."""

    shares: tuple[Share, ...]
    mirror: Share | None
    inputs: tuple[TrafficInput, ...]
    mirror_name: str
    mirror_percent: str
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """0 or 100."""
        return sum(share.percent for share in self.shares)

    @property
    def unmirrored(self) -> int:
        """What is not copied, in percent."""
        return 100 - (self.mirror.percent if self.mirror else 0)

    @property
    def label(self) -> str:
        """The bar in words."""
        if not self.shares:
            return "No deployment has traffic"
        return ", ".join(f"{share.name} {share.percent} percent" for share in self.shares)

    @property
    def traffic_error(self) -> str:
        """What is wrong with the sum."""
        return " ".join(self.errors.get("traffic", ()))

    @property
    def mirror_error(self) -> str:
        """What is wrong with the mirror."""
        found = [s for path, said in self.errors.items() if path.split(".")[0] == "mirror" for s in said]
        return " ".join(found)


def traffic_region(
    rows: Sequence[DeploymentRow],
    *,
    typed: Mapping[str, str] | None = None,
    mirror: tuple[str, str] | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
) -> TrafficRegion:
    """The region for these rows; `typed` and `mirror` are what was sent, when the form is shown again."""
    copied = next((row for row in rows if row.mirror), None)
    said = errors or {}
    return TrafficRegion(
        shares=tuple(_share(row, row.share) for row in sorted(rows, key=lambda row: -row.share) if row.share),
        mirror=_share(copied, copied.mirror) if copied else None,
        inputs=tuple(
            TrafficInput(
                name=row.name,
                series=row.series,
                value=(typed or {}).get(row.name, str(row.share)),
                error=" ".join(said.get(f"traffic.{row.name}", ())),
                runs=bool(row.ready),
                said="" if row.ready or row.share else "no replica is ready",
            )
            for row in rows
            if not row.deleting
        ),
        mirror_name=mirror[0] if mirror else copied.name if copied else "",
        mirror_percent=mirror[1] if mirror else str(copied.mirror) if copied else "10",
        errors=said,
    )


def _share(row: DeploymentRow, percent: int) -> Share:
    return Share(name=row.name, series=row.series, percent=percent, rps=row.rps)
