"""From a status to the timeline of an Operation: which steps are done, what runs, and when to give up on a cause."""

from datetime import datetime, timedelta
from typing import Final

from deployments.rollout.errors import NotYetError, RolloutError
from deployments.status import DeploymentStatus, ReplicaStatus, StatusCause, causes
from studio.models import Operation
from studio.services.operations import begin_step, finish_step, set_summary, update_step

# The steps in order, and the phases of a replica in which each is the one that runs.
_STEPS: Final = ("schedule", "fetch", "pull", "init", "probes")
_RUNNING: Final = {
    "waiting": "schedule",
    "fetching": "fetch",
    "pulling": "pull",
    "starting": "init",
    "probing": "probes",
    "ready": "probes",
}
_STEP_OF_CAUSE: Final = {
    causes.UNSCHEDULABLE: "schedule",
    causes.QUOTA: "schedule",
    causes.SPEC: "schedule",
    causes.FETCH: "fetch",
    causes.IMAGE: "pull",
}


def follow_progress(op: Operation, *, status: DeploymentStatus, now: datetime) -> None:
    """Bring the timeline up to date. Raises RolloutError once a cause is certain, NotYetError while it may pass."""
    furthest = status.newest[0] if status.newest else None
    if furthest is not None:
        _show(op, furthest, status=status)
    set_summary(op, _summary(status))
    if status.complete:
        _finish_before(op, "")
        return
    if status.cause is not None:
        _judge(status.cause, now=now)


def step_of(cause: StatusCause) -> str:
    """The step a cause belongs to."""
    return _STEP_OF_CAUSE.get(cause.name, "init")


def _show(op: Operation, replica: ReplicaStatus, *, status: DeploymentStatus) -> None:
    running = step_of(replica.cause) if replica.cause else _RUNNING.get(replica.phase, "")
    if not running:
        return
    if replica.node:
        finish_step(op, "schedule", detail=f"On {replica.node}.")
    _finish_before(op, running)
    begin_step(op, running)
    if replica.cause:
        times = f" ({replica.cause.tries} times)" if replica.cause.tries > 1 else ""
        update_step(op, running, detail=f"{replica.cause.proof or replica.cause.text}{times}")
    elif running == "probes":
        update_step(op, "probes", detail=f"{status.ready} of {status.wanted} replicas ready.")


def _finish_before(op: Operation, running: str) -> None:
    """Everything before `running` is done; "" means everything."""
    for name in _STEPS[: _STEPS.index(running)] if running else _STEPS:
        finish_step(op, name)


def _summary(status: DeploymentStatus) -> str:
    return status.sentence


def _judge(cause: StatusCause, *, now: datetime) -> None:
    if not cause.settled:
        return
    until = _since(cause, now=now) + timedelta(seconds=cause.patience)
    if now >= until:
        raise RolloutError(cause, step=step_of(cause))
    raise NotYetError("It may pass by itself.", seconds=(until - now).total_seconds())


def _since(cause: StatusCause, *, now: datetime) -> datetime:
    if not cause.since:
        return now - timedelta(seconds=cause.patience)
    return datetime.fromisoformat(cause.since)
