"""Moving traffic: a share per deployment, and at most one mirror."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from django.http import QueryDict


@dataclass(frozen=True, slots=True)
class TrafficTyped:
    """What was typed, as text: shares by deployment, which one is the mirror, and its percent."""

    shares: Mapping[str, str]
    mirror: str
    mirror_percent: str

    @property
    def mirror_mapping(self) -> dict[str, str]:
        """{"int8": "10"}; empty without a mirror."""
        return {self.mirror: self.mirror_percent or "0"} if self.mirror else {}


def read_traffic(data: QueryDict, *, deployments: Collection[str]) -> TrafficTyped:
    """The typed shares of these deployments; an empty field is 0."""
    return TrafficTyped(
        shares={name: data.get(f"traffic.{name}", "").strip() or "0" for name in deployments},
        mirror=data.get("mirror", "").strip(),
        mirror_percent=data.get("mirror_percent", "").strip(),
    )
