"""How an Operation goes and how it ends, told step by step. Called by whoever holds its claim.

Everything here may be said twice: a step that ended does not begin again, and an Operation ends once.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils import timezone

from studio.live import notify
from studio.models import UNFINISHED, Operation, OperationState, StepState
from studio.services.logs import Line, append_lines, close_stream


@dataclass(frozen=True)
class Fix:
    """A way out of a failure: a sentence, and where there is one the exact command or the page."""

    text: str
    command: str = ""
    url: str = ""


@dataclass(frozen=True)
class Cause:
    """Why an Operation failed: the one name, what happened in the user's terms, the proving lines, the ways out."""

    name: str
    text: str
    proof: str = ""
    fixes: tuple[Fix, ...] = ()


def begin_step(op: Operation, name: str, *, detail: str = "") -> None:
    """The step runs from now on. Does nothing when it has begun or ended before."""
    _move_step(op, name, before=(StepState.WAITING,), to=StepState.RUNNING, detail=detail, started_at=timezone.now())


def update_step(op: Operation, name: str, *, detail: str) -> None:
    """Say how a step goes; its state stays."""
    if op.steps.filter(name=name).exclude(detail=detail[:500]).update(detail=detail[:500]):
        tell_changed(op)


def finish_step(op: Operation, name: str, *, detail: str = "") -> None:
    """The step is done. Does nothing when it has ended before."""
    now = timezone.now()
    started = Coalesce("started_at", now)
    open_ = (StepState.WAITING, StepState.RUNNING)
    _move_step(op, name, before=open_, to=StepState.SUCCEEDED, detail=detail, started_at=started, finished_at=now)


def skip_step(op: Operation, name: str, *, detail: str) -> None:
    """The step was not needed, and `detail` says why."""
    open_ = (StepState.WAITING, StepState.RUNNING)
    _move_step(op, name, before=open_, to=StepState.SKIPPED, detail=detail, finished_at=timezone.now())


def _move_step(
    op: Operation, name: str, *, before: tuple[StepState, ...], to: StepState, detail: str, **times: Any
) -> None:
    changes: dict[str, Any] = {"state": to, **times}
    if detail:
        changes["detail"] = detail[:500]
    if op.steps.filter(name=name, state__in=before).update(**changes):
        tell_changed(op)


def say(op: Operation, text: str, *, source: str = "studio", level: str = "info") -> None:
    """Add to the Operation's log: one line, or as many as `text` has."""
    now = timezone.now()
    lines = [Line(at=now, source=source, text=part, level=level) for part in text.rstrip("\n").split("\n")]
    append_lines(op.log, lines=lines)


def set_summary(op: Operation, text: str) -> None:
    """The sentence of truth now, at most 500 characters."""
    if Operation.objects.filter(pk=op.pk).exclude(summary=text[:500]).update(summary=text[:500]):
        op.summary = text[:500]
        tell_changed(op)


def set_deadline(op: Operation, at: datetime | None) -> None:
    """When the beat should wake the Operation at the latest; its task then decides what the passing means."""
    Operation.objects.filter(pk=op.pk).update(deadline_at=at)
    op.deadline_at = at


def succeed(op: Operation, *, summary: str) -> bool:
    """End well. Steps still running are done, steps not begun were not needed. False when it had ended before."""
    return _finish(
        op, OperationState.SUCCEEDED, summary=summary, running=StepState.SUCCEEDED, waiting=StepState.SKIPPED
    )


def fail(op: Operation, *, cause: Cause, step: str | None = None, summary: str = "") -> bool:
    """End with one named cause, at `step` or at the one that runs. False when it had ended before."""
    with transaction.atomic():
        if step is not None:
            now = timezone.now()
            op.steps.filter(name=step, state__in=(StepState.WAITING, StepState.RUNNING)).update(
                state=StepState.FAILED, started_at=Coalesce("started_at", now), finished_at=now
            )
        return _finish(
            op,
            OperationState.FAILED,
            summary=summary or cause.text.split("\n")[0],
            running=StepState.FAILED,
            waiting=StepState.WAITING,
            cause_name=cause.name[:60],
            cause_text=cause.text,
            cause_proof=cause.proof,
            cause_fixes=[asdict(fix) for fix in cause.fixes],
        )


def cancel(op: Operation, *, summary: str) -> bool:
    """End because somebody asked for it. False when it had ended before."""
    return _finish(op, OperationState.CANCELLED, summary=summary, running=StepState.SKIPPED, waiting=StepState.WAITING)


def _finish(
    op: Operation, state: OperationState, *, summary: str, running: StepState, waiting: StepState, **fields: Any
) -> bool:
    now = timezone.now()
    fields = {"state": state, "summary": summary[:500], "finished_at": now, "deadline_at": None, **fields}
    with transaction.atomic():
        if not Operation.objects.filter(pk=op.pk, state__in=UNFINISHED).update(**fields):
            return False
        op.steps.filter(state=StepState.RUNNING).update(state=running, finished_at=now)
        op.steps.filter(state=StepState.WAITING).update(state=waiting)
        close_stream(op.log)
        tell_changed(op)
    for name, value in fields.items():
        setattr(op, name, value)
    return True


def tell_changed(op: Operation) -> None:
    """Have the pages that show `op` look again."""
    notify(f"operation-{op.pk}")
    notify(f"workspace-{op.workspace_id}-operations")
