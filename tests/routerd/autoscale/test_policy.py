"""The autoscaling policy, by worked examples and by what must hold for any course of the load."""

import math
import random
from dataclasses import replace

import pytest

from routerd.autoscale.policy import Load, Memory, Verdict, decide, replicas_for
from routerd.routes import ScaleSpec

AUTO = ScaleSpec(mode="auto", min=1, max=10, target_utilization=70, scale_down_delay_s=60)
IDLE = Load(in_flight=0, queued=0)


def busy(requests: float) -> Load:
    return Load(in_flight=requests, queued=0, arrived=1)


class Course:
    """One deployment over time: feeds the policy, applies what it decides, keeps what happened."""

    def __init__(self, *, scale: ScaleSpec = AUTO, asked: int = 1, concurrency: int = 1) -> None:
        self.scale, self.asked, self.concurrency = scale, asked, concurrency
        self.memory, self.now = Memory(), 1000.0
        self.verdicts: list[Verdict] = []

    def see(self, load: Load | None, *, seconds: int = 1) -> Verdict | None:
        last = None
        for _ in range(seconds):
            self.memory, last = decide(
                self.memory,
                load=load,
                asked=self.asked,
                scale=self.scale,
                concurrency=self.concurrency,
                now=self.now,
            )
            self.now += 1
            if last:
                self.verdicts.append(last)
                self.asked = last.after
        return last


def test_sizing_formula_of_the_documentation_gives_286_replicas():
    requests_per_second, seconds_per_request = 20, 10
    assert replicas_for(requests_per_second * seconds_per_request, target_percent=70, concurrency=1) == 286


@pytest.mark.parametrize(
    ("requests", "target", "concurrency", "replicas"),
    [(0, 70, 1, 0), (0.7, 70, 1, 1), (0.71, 70, 1, 2), (7, 70, 10, 1), (7.01, 70, 10, 2), (3, 100, 1, 3)],
)
def test_load_exactly_at_the_target_needs_no_further_replica(requests, target, concurrency, replicas):
    assert replicas_for(requests, target_percent=target, concurrency=concurrency) == replicas


def test_scales_up_on_the_first_reading_over_the_target_and_says_why():
    verdict = Course().see(Load(in_flight=2, queued=4, arrived=6))
    assert verdict is not None
    assert (verdict.before, verdict.after) == (1, 9)
    assert verdict.reason == "load 600 % over 70 %: 2.0 in flight + 4 queued on 1 replica"
    assert verdict.figures.wanted_raw == 9


def test_counts_queued_requests_as_much_as_running_ones():
    assert Course().see(Load(in_flight=0, queued=3)) == replace_figures(Course().see(busy(3)), queued=3)


def replace_figures(verdict: Verdict | None, *, queued: float) -> Verdict | None:
    assert verdict is not None
    return replace(
        verdict,
        reason=verdict.reason.replace("3.0 in flight + 0 queued", "0.0 in flight + 3 queued"),
        figures=replace(verdict.figures, in_flight=0, queued=queued),
    )


def test_replicas_still_starting_are_not_asked_for_again():
    course = Course()
    course.see(busy(3))
    assert course.asked == 5
    assert course.see(busy(3), seconds=30) is None  # however long they take to become ready
    assert course.asked == 5


def test_scales_down_only_after_the_whole_delay_and_to_the_peak_of_it():
    course = Course(asked=8)
    course.see(busy(5))
    course.see(busy(0.5), seconds=29)
    course.see(busy(2))
    assert course.asked == 8
    course.see(busy(0.5), seconds=31)
    assert course.asked == 3  # the 2 requests of half a minute ago still count
    verdict = course.see(busy(0.5), seconds=60)
    assert course.asked == 1
    assert verdict is None or verdict.after == 1
    assert course.verdicts[-1].reason == (
        "load at most 17 % for 60 s: 0.5 requests at the peak on 3 replicas, 1 replica is enough at 70 %"
    )


def test_does_not_scale_down_one_second_before_the_delay_is_over():
    course = Course(asked=4)
    course.see(IDLE, seconds=60)
    assert course.asked == 4
    course.see(IDLE)
    assert course.asked == 1


def test_one_busy_second_restarts_the_delay():
    course = Course(asked=4)
    course.see(IDLE, seconds=59)
    course.see(busy(2.5))
    course.see(IDLE, seconds=59)
    assert course.asked == 4
    course.see(IDLE, seconds=2)
    assert course.asked == 1


def test_unknown_load_holds_the_count_and_restarts_the_delay():
    course = Course(asked=4)
    course.see(IDLE, seconds=59)
    course.see(None, seconds=600)
    assert course.asked == 4
    course.see(IDLE, seconds=60)
    assert course.asked == 4
    course.see(IDLE)
    assert course.asked == 1


def test_bounds_hold_even_when_the_load_is_unknown():
    raised = Course(scale=replace(AUTO, min=3), asked=1)
    assert raised.see(None) is not None
    assert raised.asked == 3
    lowered = Course(scale=replace(AUTO, max=2), asked=5)
    lowered.see(None)
    assert lowered.asked == 2
    assert "maximum is 2" in lowered.verdicts[0].reason


def test_fixed_scale_is_never_touched():
    course = Course(scale=ScaleSpec(mode="fixed", min=2, max=2), asked=5)
    course.see(busy(50), seconds=5)
    course.see(IDLE, seconds=100)
    assert course.verdicts == []


def test_a_bound_that_stops_the_count_is_told_once_and_again_after_a_quiet_window():
    course = Course(scale=replace(AUTO, max=3), asked=3)
    first = course.see(busy(3))
    assert first is not None
    assert (first.before, first.after) == (3, 3)
    assert first.reason.endswith("; wants 5, bounded by max 3")
    for _ in range(20):
        course.see(busy(3))
        course.see(busy(1))
    assert len(course.verdicts) == 1
    course.see(busy(1.5), seconds=61)
    course.see(busy(3))
    assert len(course.verdicts) == 2


def test_reaching_the_bound_while_scaling_up_is_one_verdict():
    course = Course(scale=replace(AUTO, max=3), asked=1)
    course.see(busy(9), seconds=10)
    assert [(verdict.before, verdict.after) for verdict in course.verdicts] == [(1, 3)]
    assert "wants 13, bounded by max 3" in course.verdicts[0].reason


def test_minimum_zero_scales_to_zero_after_the_delay_and_back_for_the_first_held_request():
    course = Course(scale=replace(AUTO, min=0), asked=1)
    course.see(IDLE, seconds=61)
    assert course.asked == 0
    assert course.verdicts[-1].reason == "no request for 60 s"
    verdict = course.see(Load(in_flight=0, queued=0, held=1))
    assert verdict is not None
    assert verdict.after == 1
    assert verdict.reason.startswith("requests arrive and there is no replica")


def test_a_request_that_waits_for_a_model_to_load_asks_for_no_second_replica():
    course = Course(asked=1)
    assert course.see(Load(in_flight=0, queued=0, held=1), seconds=30) is None
    assert course.asked == 1


def test_a_crowd_that_waits_for_a_model_to_load_gets_a_slot_each():
    course = Course(scale=replace(AUTO, max=50), asked=1, concurrency=2)
    course.see(Load(in_flight=0, queued=0, held=31))
    assert course.asked == 16
    assert course.verdicts[-1].reason == "load 1550 % over 70 %: 0.0 in flight + 31 queued on 1 replica"


def test_requests_too_short_to_be_seen_in_flight_keep_the_last_replica():
    course = Course(scale=replace(AUTO, min=0), asked=1)
    course.see(Load(in_flight=0, queued=0, arrived=1), seconds=200)
    assert course.asked == 1


def test_a_changed_concurrency_applies_to_the_remembered_load_too():
    course = Course(asked=6)
    course.see(busy(4), seconds=61)
    assert course.asked == 6
    course.concurrency = 4
    course.see(IDLE)
    assert course.asked == 2  # the peak of 4 requests needs two replicas of four slots


@pytest.mark.parametrize("seed", range(20))
def test_any_course_of_the_load_stays_in_bounds_and_never_falls_below_the_peak_of_the_window(seed):
    dice = random.Random(seed)  # noqa: S311 - a course of the load that can be repeated
    low = dice.randint(0, 3)
    scale = ScaleSpec(
        mode="auto",
        min=low,
        max=low + dice.randint(1, 20),
        target_utilization=dice.randint(1, 100),
        scale_down_delay_s=dice.choice([1, 5, 60]),
    )
    course = Course(scale=scale, asked=low or 1, concurrency=dice.randint(1, 8))
    seen: list[tuple[float, Load | None]] = []
    for _ in range(400):
        load = dice.choice(
            [None, IDLE, busy(dice.random() * 20), Load(in_flight=1, queued=dice.random() * 50, held=dice.random())]
        )
        before, now = course.asked, course.now
        seen.append((now, load))
        course.see(load)
        window = [value for at, value in seen if at > now - scale.scale_down_delay_s]
        wanted = max((_wanted(value, course=course) for value in window if value), default=0)
        assert scale.min <= course.asked <= scale.max
        if course.asked < before:
            assert None not in window
            assert course.asked == max(wanted, scale.min)
        if load is not None:
            assert course.asked >= min(_wanted(load, course=course), scale.max)
        if load is None:
            assert course.asked == before


def _wanted(load: Load, *, course: Course) -> int:
    at_target = (load.in_flight + load.queued) * 100 / course.scale.target_utilization
    return math.ceil((at_target + load.held) / course.concurrency - 1e-9)


def test_memory_stays_small_under_any_load():
    course, dice = Course(), random.Random(1)  # noqa: S311 - repeatable
    for _ in range(5000):
        course.see(busy(dice.random() * 9))
    assert len(course.memory.window.peaks) <= 60
