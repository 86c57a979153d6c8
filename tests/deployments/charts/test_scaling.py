"""The sum that is shown is the sum the router does."""

import pytest

from deployments.charts.scaling import ScaleRule, explain_scale, replicas_needed
from deployments.charts.sparks import make_spark
from routerd.autoscale.policy import replicas_for

RULE = ScaleRule(auto=True, fewest=2, most=8, target_percent=70, concurrency=4, down_after_seconds=60)


def test_the_proof_of_the_pages_comes_out() -> None:
    found = explain_scale(RULE, in_flight=10.4, queued=0)
    assert round(found.exact, 1) == 3.7
    assert found.wanted == 4
    assert found.next_up_above == pytest.approx(11.2)
    assert found.next_down_at == pytest.approx(8.4)


@pytest.mark.parametrize("busy", [0.0, 0.3, 2.8, 2.81, 7.0, 11.2, 14.0, 100.0])
def test_it_agrees_with_the_router(busy: float) -> None:
    found = explain_scale(RULE, in_flight=busy, queued=0)
    assert found.unbounded == replicas_for(busy, target_percent=70, concurrency=4)


def test_bounds_hold_and_there_is_nothing_beyond_them() -> None:
    full = explain_scale(RULE, in_flight=60, queued=5)
    assert (full.wanted, full.next_up_above) == (8, None)
    calm = explain_scale(RULE, in_flight=0, queued=0)
    assert (calm.wanted, calm.next_down_at) == (2, None)


def test_the_sizing_formula_is_azure_mls() -> None:
    assert replicas_needed(rps=20, seconds=10, target_percent=70, concurrency=1) == 286


def test_a_spark_without_a_measurement_is_no_line() -> None:
    assert make_spark([None, None]) is None


def test_a_spark_leaves_out_what_was_not_measured() -> None:
    spark = make_spark([1.0, None, 3.0])
    assert spark is not None
    assert spark.line.count(",") == 2
