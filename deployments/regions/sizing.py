"""How many do I need? The sizing formula with the reader's own numbers."""

from dataclasses import dataclass

from deployments.charts.scaling import replicas_needed


@dataclass(frozen=True, slots=True)
class Sizing:
    """Requests a second, milliseconds each, and what they take."""

    rps: float
    each_ms: float
    target_percent: int
    concurrency: int

    @property
    def in_flight(self) -> float:
        """Requests at once, on average."""
        return self.rps * self.each_ms / 1000

    @property
    def exact(self) -> float:
        """Replicas before rounding."""
        return self.in_flight / (self.target_percent / 100 * self.concurrency)

    @property
    def replicas(self) -> int:
        """Replicas, rounded up."""
        return replicas_needed(
            rps=self.rps, seconds=self.each_ms / 1000, target_percent=self.target_percent, concurrency=self.concurrency
        )

    @property
    def most(self) -> int:
        """Half as many again, for the peaks."""
        return self.replicas + max(1, self.replicas // 2)


def read_sizing(*, rps: str, each_ms: str, target: str, concurrency: str) -> Sizing | None:
    """The sizing of what was typed; None when that is not numbers above 0."""
    try:
        found = Sizing(float(rps), float(each_ms), int(target or 70), int(concurrency or 1))
    except ValueError:
        return None
    sane = (
        0 < found.rps < 1e7 and 0 < found.each_ms < 1e7 and 1 <= found.target_percent <= 100 and found.concurrency >= 1
    )
    return found if sane else None
