"""Samples become points of equal length; what was not measured stays a gap."""

from dataclasses import replace
from datetime import UTC, datetime

from deployments.charts.buckets import MOST_POINTS, SPANS, Bucket, Span, first_index, make_timeline, span_named

NOW = datetime(2026, 5, 8, 14, 10, 0, tzinfo=UTC)
SPAN = Span("test", "1 min", 60, 6)


def bucket(index: int, **values: object) -> Bucket:
    plain = Bucket(
        index=index,
        known_seconds=6,
        ok=60,
        refused=0,
        turned_away=6,
        failed=0,
        p50_ms=20,
        p95_ms=50,
        p99_ms=80,
        in_flight_seconds=12,
        queued_seconds=3,
        slots=8,
        replicas_ready=2,
        replicas_wanted=2,
    )
    return replace(plain, **values)  # type: ignore[arg-type]


def newest() -> int:
    return first_index(SPAN, now=NOW) + SPAN.points - 1


def test_no_span_has_more_points_than_a_chart_can_show() -> None:
    assert all(span.points <= MOST_POINTS for span in SPANS)


def test_an_unknown_span_is_the_first_one() -> None:
    assert span_named("a fortnight") is SPANS[0]


def test_a_bucket_without_a_sample_is_a_gap_and_not_zero() -> None:
    timeline = make_timeline([bucket(newest())], span=SPAN, now=NOW)
    assert timeline.points[:-1] == (None,) * 9
    assert timeline.points[-1] is not None


def test_rates_count_only_the_seconds_that_are_known() -> None:
    half = bucket(newest(), known_seconds=3.0, ok=30, turned_away=0, in_flight_seconds=6)
    point = make_timeline([half], span=SPAN, now=NOW).points[-1]
    assert point is not None
    assert (point.ok, point.in_flight) == (10, 2)


def test_a_window_longer_than_a_bucket_leaves_no_gap_before_it() -> None:
    timeline = make_timeline([bucket(newest(), known_seconds=12)], span=SPAN, now=NOW)
    assert timeline.points[-2] == timeline.points[-1]
    assert timeline.points[-3] is None


def test_deployments_add_up_but_latency_is_weighed_by_requests() -> None:
    calm, busy = bucket(newest(), ok=54), bucket(newest(), ok=594, p95_ms=150.0, p99_ms=400.0)
    point = make_timeline([calm, busy], span=SPAN, now=NOW).points[-1]
    assert point is not None
    assert point.slots == 16
    assert point.ok == 108
    assert point.p95_ms == (50 * 60 + 150 * 600) / 660
    assert point.p99_ms == 400


def test_a_bucket_without_a_request_has_no_latency() -> None:
    silent = bucket(newest(), ok=0, turned_away=0, p50_ms=None, p95_ms=None, p99_ms=None)
    point = make_timeline([silent], span=SPAN, now=NOW).points[-1]
    assert point is not None
    assert (point.requests, point.p95_ms, point.p99_ms) == (0, None, None)


def test_the_latest_point_is_unknown_once_nothing_reports_any_more() -> None:
    old = make_timeline([bucket(newest() - 6)], span=SPAN, now=NOW)
    assert old.latest() is None
    assert make_timeline([bucket(newest() - 1)], span=SPAN, now=NOW).latest() is not None


def test_what_lies_outside_the_span_is_left_out() -> None:
    assert make_timeline([bucket(newest() + 5), bucket(newest() - 60)], span=SPAN, now=NOW).empty
