"""Operations: start, claim, wake (studio.models.operation has the states and the promise).

How one goes and ends is told through studio.services.progress, whose functions are passed on here.

    start_operation ──on commit──> queue ──> task(id): with claimed(id) as op: look, do, return
         wake(id) ────────────────────^          ^ finished, or another has it: None
         beat: stale(now) ────────────'

Who holds the claim is one column; it is taken and given back by a conditional UPDATE, so two workers can never both
have it. A wake that finds the claim taken leaves a mark, and whoever gives the claim back runs the task again.
"""

import threading
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from studio.actor import Actor
from studio.models import UNFINISHED, LogStream, Operation, OperationState, OperationStep, Workspace
from studio.services.progress import (
    Cause,
    Fix,
    begin_step,
    cancel,
    fail,
    finish_step,
    say,
    set_deadline,
    set_summary,
    skip_step,
    succeed,
    tell_changed,
    update_step,
)
from studio.services.subject import Subject

__all__ = [
    "Cause", "Fix", "Step", "Subject", "begin_step", "cancel", "claimed", "fail", "finish_step", "request_cancel",
    "requeue_unfinished", "say", "set_deadline", "set_summary", "skip_step", "stale", "start_operation", "succeed",
    "update_step", "wake",
]  # fmt: skip

log = structlog.get_logger(__name__)

HEARTBEAT = timedelta(seconds=5)
STALE_AFTER = timedelta(seconds=30)  # a claim without heartbeat for so long belongs to a process that died
Id = uuid.UUID | str


@dataclass(frozen=True)
class Step:
    """A line of the timeline: what code calls it, and what people read."""

    name: str
    title: str


# --- beginning -------------------------------------------------------------------------------------------------------


def start_operation(
    workspace: Workspace,
    *,
    kind: str,
    title: str,
    subject: Subject,
    task: str,
    steps: Sequence[Step],
    actor: Actor,
    params: Mapping[str, Any] | None = None,
    summary: str = "",
) -> Operation:
    """Write the Operation, its steps and its log; its task is enqueued when the current transaction is committed."""
    with transaction.atomic():
        op = Operation.objects.create(
            workspace=workspace,
            kind=kind,
            title=title[:200],
            subject_kind=subject.kind,
            subject_id=subject.id,
            subject_label=subject.label[:200],
            actor=actor.user,
            task=task,
            params=dict(params or {}),
            summary=summary[:500],
        )
        OperationStep.objects.bulk_create(
            OperationStep(operation=op, position=position, name=step.name, title=step.title)
            for position, step in enumerate(steps)
        )
        LogStream.objects.create(
            workspace=workspace,
            key=f"operation/{op.pk}",
            operation=op,
            label=title[:200],
            subject_kind=subject.kind,
            subject_id=subject.id,
        )
        tell_changed(op)
        _enqueue(op.pk, op.task)
    return op


def _enqueue(operation_id: Id, task: str) -> None:
    def send() -> None:
        from studio.celery import app  # here, because importing Celery takes as long as importing Django

        app.send_task(task, args=[str(operation_id)])

    transaction.on_commit(send)


def wake(operation_id: Id) -> None:
    """Have an unfinished Operation look again, soon. Safe from anywhere, any number of times."""
    task = Operation.objects.filter(pk=operation_id, state__in=UNFINISHED).values_list("task", flat=True).first()
    if task:
        _enqueue(operation_id, task)


def requeue_unfinished() -> int:
    """Enqueue every unfinished Operation again, freed of the claims of the process that had them. How many.

    For the start of the one process that runs tasks in embedded mode; elsewhere `stale` does it by the heartbeat.
    """
    Operation.objects.filter(state__in=UNFINISHED).exclude(claimed_by="").update(claimed_by="", heartbeat_at=None)
    unfinished = list(Operation.objects.filter(state__in=UNFINISHED).values_list("pk", "task"))
    for operation_id, task in unfinished:
        _enqueue(operation_id, task)
    return len(unfinished)


def stale(now: datetime) -> list[uuid.UUID]:
    """Ids of unfinished Operations that need a push: their worker died, or their deadline has passed."""
    dead = ~Q(claimed_by="") & Q(heartbeat_at__lt=now - STALE_AFTER)
    late = Q(claimed_by="", deadline_at__lte=now)
    forgotten = Q(claimed_by="", wake_requested=True) | Q(
        state=OperationState.WAITING, created_at__lt=now - STALE_AFTER
    )
    return list(Operation.objects.filter(dead | late | forgotten, state__in=UNFINISHED).values_list("pk", flat=True))


# --- claiming --------------------------------------------------------------------------------------------------------


@contextmanager
def claimed(operation_id: Id) -> Iterator[Operation | None]:
    """The Operation, for this worker alone; None when another has it (it will look again) or when it is finished.

    An unexpected exception inside fails the Operation with the cause InternalError, and is raised again.
    """
    token = uuid.uuid4().hex
    if not _claim(operation_id, token=token):
        yield None
        return
    op = Operation.objects.select_related("workspace", "actor").get(pk=operation_id)
    tell_changed(op)
    stop = threading.Event()
    pulse = threading.Thread(target=_keep_heartbeat, args=(op.pk, token, stop), name=f"heartbeat-{op.pk}", daemon=True)
    pulse.start()
    try:
        yield op
    except Exception as error:
        log.exception("Operation broke", operation=str(op.pk), kind=op.kind)
        _fail_as_bug(op, error)
        raise
    finally:
        stop.set()
        pulse.join()
        _release(op, token=token)


def _claim(operation_id: Id, *, token: str) -> bool:
    for _ in range(100):  # the holder may leave between our two updates; then we try again
        now = timezone.now()
        unfinished = Operation.objects.filter(pk=operation_id, state__in=UNFINISHED)
        free = Q(claimed_by="") | Q(heartbeat_at__lt=now - STALE_AFTER)
        if unfinished.filter(free).update(
            claimed_by=token,
            heartbeat_at=now,
            wake_requested=False,
            state=OperationState.RUNNING,
            started_at=Coalesce("started_at", now),
        ):
            return True
        if unfinished.exclude(claimed_by="").update(wake_requested=True) or not unfinished.exists():
            return False
    return False


def _release(op: Operation, *, token: str) -> None:
    Operation.objects.filter(pk=op.pk, claimed_by=token).update(claimed_by="", heartbeat_at=None)
    if Operation.objects.filter(pk=op.pk, state__in=UNFINISHED, wake_requested=True).update(wake_requested=False):
        _enqueue(op.pk, op.task)


def _keep_heartbeat(operation_id: uuid.UUID, token: str, stop: threading.Event) -> None:
    try:
        while not stop.wait(HEARTBEAT.total_seconds()):
            try:
                Operation.objects.filter(pk=operation_id, claimed_by=token).update(heartbeat_at=timezone.now())
            except Exception:  # a busy database must not end the heartbeat: the next beat tries again
                log.exception("Heartbeat missed", operation=str(operation_id))
                connection.close()
    finally:
        connection.close()  # this thread's own


def _fail_as_bug(op: Operation, error: Exception) -> None:
    for line in traceback.format_exception(error):
        say(op, line, level="error")
    fail(
        op,
        cause=Cause(
            name="InternalError",
            text="Slipway itself made a mistake here; nothing you entered is wrong. The log below holds the details.",
            proof=f"{type(error).__name__}: {error}",
            fixes=(Fix("Try again. If it happens again, report it with the log of this operation."),),
        ),
    )


def request_cancel(op: Operation, *, actor: Actor) -> bool:
    """Ask the Operation's task to stop; the task undoes what must be undone and then calls `cancel`."""
    asked = Operation.objects.filter(pk=op.pk, state__in=UNFINISHED, cancel_requested=False).update(
        cancel_requested=True
    )
    if asked:
        op.cancel_requested = True
        say(op, f"{actor.name} asked to cancel")
        tell_changed(op)
        wake(op.pk)
    return bool(asked)
