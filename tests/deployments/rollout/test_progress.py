"""The timeline follows what is seen, and a cause is given its time to pass."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployments.rollout.errors import NotYetError, RolloutError
from deployments.rollout.progress import follow_progress
from deployments.services.deployments import DEPLOY_STEPS
from deployments.status import DeploymentStatus, ReplicaStatus, StatusCause
from studio.actor import SLIPWAY
from studio.models import Operation, Workspace
from studio.services.operations import Subject, start_operation

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def op(workspace: Workspace) -> Operation:
    """A rollout that has begun."""
    return start_operation(
        workspace,
        kind="deploy",
        title="Deploy blue to iris",
        subject=Subject("deployment", "1", "iris / blue"),
        task="deployments.tasks.deploy.advance",
        steps=DEPLOY_STEPS,
        actor=SLIPWAY,
    )


def seen(phase: str, *, cause: StatusCause | None = None, **more: Any) -> DeploymentStatus:
    replica = ReplicaStatus(name="a", uid="a", revision=2, phase=phase, sentence="", node="quay-01", cause=cause)
    values: dict[str, Any] = {"wanted": 2, "ready": 1, "revision": 2, "settled": True, "cause": cause}
    return DeploymentStatus(state="updating", sentence="Rolling out.", replicas=(replica,), **(values | more))


def states(op: Operation) -> dict[str, str]:
    return {step.name: step.state for step in op.steps.all() if step.name in ("schedule", "fetch", "pull", "init")}


def test_steps_before_the_one_that_runs_are_done(op: Operation) -> None:
    follow_progress(op, status=seen("pulling"), now=NOW)
    assert states(op) == {"schedule": "succeeded", "fetch": "succeeded", "pull": "running", "init": "waiting"}
    assert op.steps.get(name="schedule").detail == "On quay-01."
    follow_progress(op, status=seen("ready"), now=NOW)
    assert set(states(op).values()) == {"succeeded"}
    assert op.steps.get(name="probes").detail == "1 of 2 replicas ready."


def test_a_cause_may_pass_until_its_patience_is_over(op: Operation) -> None:
    cause = StatusCause(name="PodUnschedulable", text="No room.", since=NOW.isoformat())
    with pytest.raises(NotYetError) as waits:
        follow_progress(op, status=seen("waiting", cause=cause), now=NOW + timedelta(seconds=100))
    assert waits.value.seconds == 200
    with pytest.raises(RolloutError) as fails:
        follow_progress(op, status=seen("waiting", cause=cause), now=NOW + timedelta(seconds=300))
    assert (fails.value.step, fails.value.cause) == ("schedule", cause)


def test_a_cause_that_happened_once_is_not_believed_yet(op: Operation) -> None:
    cause = StatusCause(name="UserScriptInitFailed", text="init() raised.", proof="ValueError: x", since="", tries=1)
    follow_progress(op, status=seen("failed", cause=cause), now=NOW)
    assert states(op)["init"] == "running"
    assert op.steps.get(name="init").detail == "ValueError: x"
