"""What the page of an Operation shows, worked out from its rows: pure, `now` given.

The waterfall: every step's bar begins where the step began and is as long as it took, as shares of the whole
Operation so far. A step that has not begun has no bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from studio.models import Operation, OperationState, OperationStep, StepState

SHAPES = {
    OperationState.WAITING: "wait",
    OperationState.RUNNING: "run",
    OperationState.SUCCEEDED: "ok",
    OperationState.FAILED: "fail",
    OperationState.CANCELLED: "idle",
}
STEP_SHAPES = {
    StepState.WAITING: "wait",
    StepState.RUNNING: "run",
    StepState.SUCCEEDED: "ok",
    StepState.FAILED: "fail",
    StepState.SKIPPED: "idle",
}


@dataclass(frozen=True)
class Bar:
    """Where a step's bar begins and how long it is, in percent of the track."""

    offset: float
    width: float


@dataclass(frozen=True)
class StepView:
    """One line of the timeline."""

    title: str
    shape: str
    word: str
    detail: str
    seconds: float | None  # how long it took; None while it runs or has not begun
    since: datetime | None  # set while it runs
    bar: Bar | None


@dataclass(frozen=True)
class OperationView:
    """The page's head and timeline."""

    shape: str
    word: str
    lead: str  # the bold first sentence
    rest: str
    seconds: float | None  # from start to end; None until it ended
    since: datetime | None  # set while it runs
    allowed: float | None  # seconds from start to deadline, while it runs
    steps: list[StepView]


def view_operation(op: Operation, *, steps: Sequence[OperationStep], now: datetime) -> OperationView:
    """Everything the page says about `op`."""
    start, end = op.started_at or op.created_at, op.finished_at
    lead, rest = split_truth(truth_of(op))
    return OperationView(
        shape=SHAPES[OperationState(op.state)],
        word=OperationState(op.state).label,
        lead=lead,
        rest=rest,
        seconds=(end - start).total_seconds() if end else None,
        since=None if end else start,
        allowed=(op.deadline_at - start).total_seconds() if op.deadline_at and not end else None,
        steps=[view_step(step, start=start, end=end or now, over=op.finished) for step in steps],
    )


def truth_of(op: Operation) -> str:
    """The sentence of truth: the summary, or what the state alone says."""
    if op.cancel_requested and not op.finished:
        return f"Cancelling. {op.summary}"
    return (
        op.summary
        or {
            OperationState.WAITING: "Waiting for its turn.",
            OperationState.RUNNING: "Under way.",
            OperationState.SUCCEEDED: "Done.",
            OperationState.FAILED: f"Failed: {op.cause_name}.",
            OperationState.CANCELLED: "Cancelled.",
        }[OperationState(op.state)]
    )


def split_truth(text: str) -> tuple[str, str]:
    """The first sentence, and the rest."""
    first, dot, rest = text.partition(". ")
    return (first + dot.strip(), rest) if dot else (text, "")


def view_step(step: OperationStep, *, start: datetime, end: datetime, over: bool) -> StepView:
    """One step, in an Operation that began at `start` and lasts or lasted until `end`."""
    state = StepState(step.state)
    waiting = state == StepState.WAITING
    took = (step.finished_at - step.started_at).total_seconds() if step.finished_at and step.started_at else None
    return StepView(
        title=step.title,
        shape=STEP_SHAPES[state],
        word=("Not reached" if over else "Not started") if waiting else state.label,
        detail=step.detail or ("Not reached." if waiting and over else ""),
        seconds=took,
        since=step.started_at if state == StepState.RUNNING else None,
        bar=None if step.started_at is None else _bar(step, start=start, end=end),
    )


def _bar(step: OperationStep, *, start: datetime, end: datetime) -> Bar:
    whole = max((end - start).total_seconds(), 0.001)
    began = ((step.started_at or start) - start).total_seconds()
    ended = ((step.finished_at or end) - start).total_seconds()
    offset = min(max(began / whole * 100, 0), 99)
    return Bar(offset=round(offset, 1), width=round(min(max((ended - began) / whole * 100, 1), 100 - offset), 1))
