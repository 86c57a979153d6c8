"""The timeline of an Operation: pure, with its own clock."""

from datetime import UTC, datetime, timedelta

from studio.models import Operation, OperationStep
from studio.timeline import split_truth, view_operation, view_step

START = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def step(state: str, began: float | None = None, ended: float | None = None, detail: str = "") -> OperationStep:
    return OperationStep(
        title="Image",
        state=state,
        detail=detail,
        started_at=None if began is None else at(began),
        finished_at=None if ended is None else at(ended),
    )


def operation(state: str, **fields: object) -> Operation:
    return Operation(state=state, created_at=START, started_at=START, **fields)


def test_bars_are_shares_of_the_whole_operation() -> None:
    view = view_step(step("succeeded", 10, 60), start=START, end=at(100), over=True)
    assert view.bar is not None
    assert (view.bar.offset, view.bar.width, view.seconds) == (10.0, 50.0, 50.0)


def test_a_running_step_reaches_to_now_and_a_waiting_one_has_no_bar() -> None:
    running = view_step(step("running", 75), start=START, end=at(100), over=False)
    assert running.bar is not None
    assert (running.bar.offset, running.bar.width, running.since) == (75.0, 25.0, at(75))
    assert view_step(step("waiting"), start=START, end=at(100), over=False).bar is None


def test_a_step_of_no_time_is_still_seen_and_never_runs_over_the_edge() -> None:
    view = view_step(step("succeeded", 100, 100), start=START, end=at(100), over=True)
    assert view.bar is not None
    assert view.bar.width >= 1
    assert view.bar.offset + view.bar.width <= 100


def test_a_step_that_never_began_says_so_only_when_all_is_over() -> None:
    assert view_step(step("waiting"), start=START, end=at(9), over=False).word == "Not started"
    over = view_step(step("waiting"), start=START, end=at(9), over=True)
    assert (over.word, over.detail) == ("Not reached", "Not reached.")


def test_the_first_sentence_leads() -> None:
    assert split_truth("Half done. Callers notice nothing.") == ("Half done.", "Callers notice nothing.")
    assert split_truth("init() is running, 1.5 s so far.") == ("init() is running, 1.5 s so far.", "")


def test_an_operation_that_runs_counts_on_and_one_that_ended_has_a_length() -> None:
    running = view_operation(operation("running", deadline_at=at(1200)), steps=[], now=at(30))
    assert (running.since, running.seconds, running.allowed) == (START, None, 1200.0)
    ended = view_operation(operation("succeeded", finished_at=at(42), summary="Done."), steps=[], now=at(99))
    assert (ended.since, ended.seconds, ended.shape, ended.lead) == (None, 42.0, "ok", "Done.")


def test_without_a_summary_the_state_speaks() -> None:
    assert view_operation(operation("waiting"), steps=[], now=START).lead == "Waiting for its turn."
    asked = view_operation(operation("running", cancel_requested=True), steps=[], now=START)
    assert asked.lead == "Cancelling."
