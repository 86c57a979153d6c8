"""The table of nodes, worst first, with what is asked for and used of each. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from clusters.capacity import Node, how_many_fit
from clusters.quantities import in_words
from clusters.sizes import Size
from studio.templatetags.slipway import in_utc

GPU = "nvidia.com/gpu"
MOST_UNITS = 8  # devices drawn one by one; more are a number


@dataclass(frozen=True)
class Bar:
    """A share of what a node has: percent widths, figures, and the whole in words for who cannot see it."""

    asked_percent: int
    used_percent: int | None
    figure: str  # "1.5 / 8"
    used: str  # "0.4 used", "" when nothing measures it
    label: str


@dataclass(frozen=True)
class NodeRow:
    """One node of the table."""

    name: str
    shape: str
    word: str
    lead: str
    rest: str
    cpu: Bar | None  # None while the node does not report
    memory: Bar | None
    gpu: str  # "3 / 4", "" without GPUs
    gpu_units: tuple[bool, ...]
    pods: str
    rank: int


def node_rows(nodes: Sequence[Node], *, sizes: Sequence[Size], current: bool = True) -> list[NodeRow]:
    """Worst first; nodes that are equally well by how full they are. Not `current`: how they are now is not known."""
    rows = [_row(node, sizes=sizes) for node in nodes]
    if not current:
        rows = [replace(row, shape="idle", word="Not known now", lead="", rest="") for row in rows]
    return sorted(rows, key=lambda row: (-row.rank, -(row.cpu.asked_percent if row.cpu else 100), row.name))


def _row(node: Node, *, sizes: Sequence[Size]) -> NodeRow:
    shape, word, lead, rest, rank = _state(node, sizes=sizes)
    reports = node.ready
    devices = node.allocatable.get(GPU, 0)
    busy = min(devices, node.requested.get(GPU, 0))
    return NodeRow(
        name=node.name,
        shape=shape,
        word=word,
        lead=lead,
        rest=rest,
        cpu=_bar(node, "cpu") if reports else None,
        memory=_bar(node, "memory") if reports else None,
        gpu=f"{busy} / {devices}" if devices and reports else "",
        gpu_units=tuple(n < busy for n in range(devices)) if devices <= MOST_UNITS else (),
        pods=f"{node.pods} / {node.allocatable['pods']}" if reports and "pods" in node.allocatable else "–",
        rank=rank,
    )


def _state(node: Node, *, sizes: Sequence[Size]) -> tuple[str, str, str, str, int]:
    if not node.ready:
        since = f" since {in_utc(datetime.fromisoformat(node.ready_since))}" if node.ready_since else ""
        return "fail", "Not ready", f"Not ready{since}.", node.why, 3
    if node.pressures:
        return "warn", node.pressures[0], f"{node.pressures[0]}.", "It takes no new pods.", 2
    if node.cordoned:
        return "warn", "Cordoned", "Cordoned.", "It takes no new pods until it is uncordoned.", 2
    return "ok", "Ready", "", _room(node, sizes=sizes), 0


def _room(node: Node, *, sizes: Sequence[Size]) -> str:
    counts = [(size.name, how_many_fit(size, [node]).count) for size in sizes]
    fits = [f"{count:,} × {name}" for name, count in counts if count]
    if not fits:
        return f"Full: {in_words('cpu', node.free('cpu'))} and {in_words('memory', node.free('memory'))} left."
    return f"Fits {' or '.join(fits[:3])}."


def _bar(node: Node, resource: str) -> Bar:
    has, asked = node.allocatable.get(resource, 0), node.requested.get(resource, 0)
    used = (node.used or {}).get(resource)
    figure = f"{_number(resource, asked)} / {_number(resource, has)}"
    unit = "cores" if resource == "cpu" else "GiB"
    measured = "" if used is None else f", {_number(resource, used)} used"
    return Bar(
        asked_percent=_percent(asked, has),
        used_percent=None if used is None else _percent(used, has),
        figure=figure,
        used="" if used is None else f"{_number(resource, used)} used",
        label=f"{_number(resource, asked)} {unit} asked for{measured}, of {_number(resource, has)}",
    )


def _percent(part: int, whole: int) -> int:
    return min(100, round(100 * part / whole)) if whole else 0


def _number(resource: str, value: int) -> str:
    shown = value / 1000 if resource == "cpu" else value / 2**30
    return f"{shown:.1f}".removesuffix(".0")
