"""Four Plotly figures from one timeline.

A figure is plain Plotly JSON without colours: every trace names its style in `meta.style`, and static/js/charts.js
lays the style of the theme in use (static/plotly-theme.json) under it. So a switch of theme needs no request, and
Python does not know what is dark. Points are evenly spaced, so a trace says `x0` and `dx` instead of 600 times.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from deployments.charts.buckets import Point, Timeline

Figure = dict[str, Any]  # {"data": [trace, ...], "layout": {...}}
_TIME: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Mark:
    """A change of the replicas wanted, to be drawn where it happened."""

    id: int
    at: datetime
    before: int
    after: int
    reason: str
    deployment: str

    @property
    def up(self) -> bool:
        """Whether it asked for more."""
        return self.after > self.before


def make_figures(timeline: Timeline, *, marks: Iterable[Mark], target_percent: int | None) -> dict[str, Figure]:
    """{"requests", "latency", "slots", "replicas"}: Plotly figures. `target_percent` draws the busy target."""
    return {
        "requests": _figure(_requests(timeline), timeline=timeline),
        "latency": _figure(_latency(timeline), timeline=timeline, suffix=" ms"),
        "slots": _figure(_slots(timeline, target_percent=target_percent), timeline=timeline),
        "replicas": _figure([*_replicas(timeline), *_marks(marks, timeline=timeline)], timeline=timeline, whole=True),
    }


def _figure(data: list[dict[str, Any]], *, timeline: Timeline, suffix: str = "", whole: bool = False) -> Figure:
    end = timeline.start.timestamp() + timeline.step * len(timeline.points)
    limits = [timeline.start.strftime(_TIME), datetime.fromtimestamp(end, tz=timeline.start.tzinfo).strftime(_TIME)]
    yaxis: dict[str, Any] = {"rangemode": "tozero", "fixedrange": True} | ({"ticksuffix": suffix} if suffix else {})
    if whole:
        most = max((max(p.replicas_ready, p.replicas_wanted) for p in timeline.points if p), default=1)
        # Room above the line for the triangles; whole numbers only.
        yaxis |= {"tickformat": "d", "dtick": max(1, -(-most // 4)), "range": [0, most * 1.3 + 0.3]}
    xaxis = {"type": "date", "range": limits, "fixedrange": True, "hoverformat": "%H:%M:%S"}
    return {"data": data, "layout": {"xaxis": xaxis, "yaxis": yaxis, "showlegend": False}}


def _trace(
    timeline: Timeline,
    *,
    style: str,
    name: str,
    values: Sequence[float | None],
    hover: str = "%{y:,.3~r}",
    **extra: Any,
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "x0": timeline.start.strftime(_TIME),
        "dx": timeline.step * 1000,
        "y": [None if value is None else round(value, 2) for value in values],
        "connectgaps": False,
        "hovertemplate": hover,
        "meta": {"style": style},
        **extra,
    }


def _each(timeline: Timeline, field: str) -> list[float | None]:
    return [None if point is None else getattr(point, field) for point in timeline.points]


def _requests(timeline: Timeline) -> list[dict[str, Any]]:
    kinds: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("ok", "status_2xx", "2xx answered", {}),
        ("refused", "status_4xx", "4xx refused", {}),
        ("turned_away", "status_4xx", "429 turned away", {"line": {"dash": "dot"}}),
        ("failed", "status_5xx", "5xx failed", {}),
    )
    traces = []
    for field, style, name, extra in kinds:
        values = _each(timeline, field)
        # A class nobody got is no line: on the ground it would show the colour of trouble where there is none.
        shown: dict[str, Any] = extra if field == "ok" or any(values) else {"visible": False}
        traces.append(_trace(timeline, style=style, name=name, values=values, **shown))
    return traces


def _latency(timeline: Timeline) -> list[dict[str, Any]]:
    return [
        _trace(
            timeline,
            style=f"latency_{name}",
            name=name,
            values=_each(timeline, f"{name}_ms"),
            hover="%{y:,.3~r} ms",
        )
        for name in ("p50", "p95", "p99")
    ]


def _slots(timeline: Timeline, *, target_percent: int | None) -> list[dict[str, Any]]:
    queued = _each(timeline, "queued")
    stacked = [None if point is None else point.in_flight + point.queued for point in timeline.points]
    traces = [
        _trace(timeline, style="in_flight", name="in flight", values=_each(timeline, "in_flight")),
        # Drawn on top of what is in flight. No line of its own: with an empty queue it would hide the other one.
        _trace(
            timeline,
            style="queued",
            name="queued",
            values=stacked,
            hover="%{customdata:,.3~r}",
            customdata=[None if value is None else round(value, 2) for value in queued],
            line={"width": 0},
        ),
        _trace(timeline, style="slots", name="slots", values=_each(timeline, "slots")),
    ]
    if target_percent is not None:
        target = [None if point is None else point.slots * target_percent / 100 for point in timeline.points]
        traces.append(_trace(timeline, style="target", name=f"target {target_percent} %", values=target))
    return traces


def _replicas(timeline: Timeline) -> list[dict[str, Any]]:
    return [
        _trace(timeline, style="ready", name="ready", values=_each(timeline, "replicas_ready")),
        _trace(timeline, style="wanted", name="wanted", values=_each(timeline, "replicas_wanted")),
    ]


def _marks(marks: Iterable[Mark], *, timeline: Timeline) -> list[dict[str, Any]]:
    moved = [mark for mark in marks if mark.before != mark.after]
    return [
        _mark_trace([mark for mark in moved if mark.up], style="scaled_up", name="scaled up", timeline=timeline),
        _mark_trace(
            [mark for mark in moved if not mark.up], style="scaled_down", name="scaled down", timeline=timeline
        ),
    ]


def _mark_trace(marks: Sequence[Mark], *, style: str, name: str, timeline: Timeline) -> dict[str, Any]:
    return {
        "type": "scatter",
        "name": name,
        "x": [mark.at.strftime(_TIME) for mark in marks],
        "y": [_height(mark, timeline=timeline) for mark in marks],
        "ids": [str(mark.id) for mark in marks],
        "customdata": [f"{mark.before} to {mark.after}: {mark.reason}" for mark in marks],
        "hovertemplate": "%{customdata}<extra></extra>",
        "cliponaxis": False,
        "meta": {"style": style},
    }


def _height(mark: Mark, *, timeline: Timeline) -> int:
    """Just over the line: the replicas of all deployments drawn at that moment, not only of the one that scaled."""
    position = int((mark.at - timeline.start).total_seconds() // timeline.step)
    around: list[Point] = [p for p in timeline.points[max(0, position - 1) : position + 2] if p is not None]
    return max([mark.before, mark.after, *(point.replicas_wanted for point in around)])
