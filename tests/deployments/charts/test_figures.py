"""Figures are plain Plotly JSON without colours."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from django.conf import settings

from deployments.charts.buckets import make_timeline
from deployments.charts.figures import Mark, make_figures
from tests.deployments.charts.test_buckets import NOW, SPAN, bucket, newest


def figures(*buckets: Any, marks: tuple[Mark, ...] = (), target: int | None = 70) -> dict[str, Any]:
    return make_figures(make_timeline(buckets, span=SPAN, now=NOW), marks=marks, target_percent=target)


def trace(figure: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in figure["data"] if each["name"] == name)


def test_plotly_accepts_every_figure() -> None:
    mark = Mark(1, NOW - timedelta(seconds=20), 2, 3, "load 76 % over 70 %", "blue")
    for figure in figures(bucket(newest()), bucket(newest() - 4), marks=(mark,)).values():
        go.Figure(json.loads(json.dumps(figure)))


def test_every_trace_names_a_style_of_both_themes() -> None:
    themes = json.loads((Path(settings.BASE_DIR) / "static" / "plotly-theme.json").read_text())
    drawn = figures(bucket(newest(), failed=3, refused=2))
    styles = {each["meta"]["style"] for figure in drawn.values() for each in figure["data"]}
    assert styles <= set(themes["light"]["traces"])
    assert styles <= set(themes["dark"]["traces"])


def test_no_data_is_null_in_the_figure_and_not_joined_over() -> None:
    line = trace(figures(bucket(newest()))["requests"], "2xx answered")
    assert line["y"] == [None] * 9 + [10.0]
    assert line["connectgaps"] is False


def test_queued_requests_are_stacked_and_told_by_themselves() -> None:
    queued = trace(figures(bucket(newest()))["slots"], "queued")
    assert queued["y"][-1] == 2.5
    assert queued["customdata"][-1] == 0.5


def test_the_busy_target_is_a_share_of_the_slots() -> None:
    assert trace(figures(bucket(newest()))["slots"], "target 70 %")["y"][-1] == 5.6
    assert len(figures(bucket(newest()), target=None)["slots"]["data"]) == 3


def test_a_class_of_answers_nobody_got_is_not_drawn() -> None:
    drawn = figures(bucket(newest()))["requests"]
    assert trace(drawn, "5xx failed")["visible"] is False
    assert "visible" not in trace(drawn, "429 turned away")


def test_decisions_are_triangles_with_their_reason_and_bounds_that_held_are_not() -> None:
    at = NOW - timedelta(seconds=20)
    marks = (
        Mark(1, at, 2, 3, "load 76 % over 70 %", "blue"),
        Mark(2, at, 3, 2, "load at most 40 %", "blue"),
        Mark(3, at, 3, 3, "bounded by max 3", "blue"),
    )
    drawn = figures(bucket(newest()), marks=marks)["replicas"]
    assert trace(drawn, "scaled up")["customdata"] == ["2 to 3: load 76 % over 70 %"]
    assert trace(drawn, "scaled down")["ids"] == ["2"]
