"""The last hour in a table row: an SVG path from its own minimum, without axes. The figure stands beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 96
HEIGHT: Final = 28
_ROOM: Final = 24  # what the line may use of the height


@dataclass(frozen=True, slots=True)
class Spark:
    """Paths in a box of 96 x 28: `line` alone, `area` down to the ground."""

    line: str
    area: str


def make_spark(values: Sequence[float | None]) -> Spark | None:
    """A spark line of requests a second; None when nothing was measured. What is missing in between is left out."""
    known = [(position, value) for position, value in enumerate(values) if value is not None]
    if not known:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    last = max(len(values) - 1, 1)
    corners = [f"{position * WIDTH / last:.1f},{_height(value, low=low, high=high):.1f}" for position, value in known]
    if len(corners) == 1:
        corners = [f"0,{corners[0].split(',')[1]}", f"{WIDTH},{corners[0].split(',')[1]}"]
    first_x, last_x = corners[0].split(",")[0], corners[-1].split(",")[0]
    line = "M" + " ".join(corners)
    return Spark(line=line, area=f"{line} L{last_x},{HEIGHT} L{first_x},{HEIGHT}Z")


def _height(value: float, *, low: float, high: float) -> float:
    if high == 0:
        return HEIGHT
    if high == low:
        return HEIGHT - _ROOM / 2
    return HEIGHT - 3 - (value - low) / (high - low) * (_ROOM - 3)
