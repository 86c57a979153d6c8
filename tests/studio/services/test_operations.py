"""Operations: claimed once, never forgotten, ended once."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import shared_task
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone

from studio.actor import SLIPWAY, Actor
from studio.models import Operation, OperationState, StepState, Workspace
from studio.services import operations
from studio.services.operations import Cause, Fix, Step, Subject, claimed, start_operation

SUBJECT = Subject(kind="deployment", id="12", label="iris / blue")


class Ran:
    """What the task of these tests did, seen from outside."""

    def __init__(self) -> None:
        self.times = 0
        self.once = threading.Event()
        self.twice = threading.Event()
        self.hold = threading.Event()
        self.hold.set()

    def count(self) -> None:
        self.times += 1
        (self.once if self.times == 1 else self.twice).set()


RAN = Ran()


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    RAN.__init__()  # type: ignore[misc]
    yield
    RAN.hold.set()


@shared_task(name="tests.advance")
def advance(operation_id: str) -> None:
    with claimed(operation_id) as op:
        if op is None:
            return
        RAN.count()
        RAN.hold.wait(10)
        if op.params.get("end"):
            operations.succeed(op, summary="Done as asked.")
        if op.params.get("break"):
            raise ZeroDivisionError("a mistake of ours")


def begin(workspace: Workspace, actor: Actor = SLIPWAY, **params: Any) -> Operation:
    return start_operation(
        workspace,
        kind="deploy",
        title="Deploy blue to iris",
        subject=SUBJECT,
        task="tests.advance",
        steps=[Step("image", "Image"), Step("schedule", "Schedule"), Step("probes", "Probes")],
        actor=actor,
        params=params,
    )


def steps_of(op: Operation) -> dict[str, str]:
    return dict(op.steps.values_list("name", "state"))


def test_an_operation_begins_waiting_with_its_steps_and_its_log(workspace: Workspace, alice: User) -> None:
    op = begin(workspace, Actor(user=alice, name="alice", address=None))
    assert op.state == OperationState.WAITING
    assert steps_of(op) == dict.fromkeys(("image", "schedule", "probes"), StepState.WAITING)
    assert op.log.key == f"operation/{op.pk}"
    assert op.actor == alice


def test_only_one_of_two_workers_gets_it_and_the_other_leaves_a_wake(workspace: Workspace) -> None:
    op = begin(workspace)
    with claimed(op.pk) as mine:
        assert mine is not None
        assert mine.state == OperationState.RUNNING
        with claimed(op.pk) as theirs:
            assert theirs is None
        assert Operation.objects.get(pk=op.pk).wake_requested
    left = Operation.objects.get(pk=op.pk)
    assert not left.claimed_by
    assert not left.wake_requested


def test_a_finished_operation_cannot_be_claimed(workspace: Workspace) -> None:
    op = begin(workspace)
    operations.succeed(op, summary="Done.")
    with claimed(op.pk) as nobody:
        assert nobody is None


def test_the_claim_of_a_dead_worker_can_be_taken_over(workspace: Workspace) -> None:
    op = begin(workspace)
    long_ago = timezone.now() - operations.STALE_AFTER - timedelta(seconds=1)
    Operation.objects.filter(pk=op.pk).update(claimed_by="gone", heartbeat_at=long_ago, state=OperationState.RUNNING)
    assert operations.stale(timezone.now()) == [op.pk]
    with claimed(op.pk) as mine:
        assert mine is not None


def test_an_operation_past_its_deadline_is_pushed_but_one_before_it_is_not(workspace: Workspace) -> None:
    op = begin(workspace)
    now = timezone.now()
    Operation.objects.filter(pk=op.pk).update(state=OperationState.RUNNING)
    operations.set_deadline(op, now + timedelta(minutes=20))
    assert operations.stale(now) == []
    assert operations.stale(now + timedelta(minutes=21)) == [op.pk]


def test_a_step_that_ended_does_not_begin_again(workspace: Workspace) -> None:
    op = begin(workspace)
    operations.finish_step(op, "image", detail="Found by its hash.")
    ended = op.steps.get(name="image").finished_at
    operations.begin_step(op, "image", detail="again")
    operations.finish_step(op, "image", detail="again")
    image = op.steps.get(name="image")
    assert (image.state, image.detail, image.finished_at) == (StepState.SUCCEEDED, "Found by its hash.", ended)


def test_failing_names_one_cause_and_later_endings_change_nothing(workspace: Workspace) -> None:
    op = begin(workspace)
    operations.finish_step(op, "image")
    operations.begin_step(op, "schedule")
    cause = Cause("NoRoom", "No node has 8 GPUs.", proof="0/3 nodes", fixes=(Fix("Ask for 4.", command="kubectl x"),))
    assert operations.fail(op, cause=cause)
    assert not operations.succeed(op, summary="Done.")
    assert not operations.cancel(op, summary="Cancelled.")
    op.refresh_from_db()
    assert (op.state, op.cause_name, op.summary) == (OperationState.FAILED, "NoRoom", "No node has 8 GPUs.")
    assert op.cause_fixes == [{"text": "Ask for 4.", "command": "kubectl x", "url": ""}]
    assert steps_of(op) == {"image": "succeeded", "schedule": "failed", "probes": "waiting"}
    assert op.log.closed_at is not None or type(op.log).objects.get(pk=op.log.pk).closed_at is not None


def test_success_ends_the_steps_that_ran_and_skips_those_that_did_not(workspace: Workspace) -> None:
    op = begin(workspace)
    operations.begin_step(op, "image")
    operations.succeed(op, summary="Done.")
    assert steps_of(op) == {"image": "succeeded", "schedule": "skipped", "probes": "skipped"}


def test_an_unexpected_error_becomes_a_named_failure_with_its_traceback_in_the_log(workspace: Workspace) -> None:
    op = begin(workspace)
    Operation.objects.filter(pk=op.pk).update(params={"break": True})
    with pytest.raises(ZeroDivisionError):
        advance(str(op.pk))
    op.refresh_from_db()
    assert (op.state, op.cause_name, op.claimed_by) == (OperationState.FAILED, "InternalError", "")
    assert any("ZeroDivisionError" in line.text for line in op.log.lines.all())


def test_asking_twice_to_cancel_asks_once(workspace: Workspace, alice: User) -> None:
    op = begin(workspace)
    actor = Actor(user=alice, name="alice", address=None)
    assert operations.request_cancel(op, actor=actor)
    assert not operations.request_cancel(op, actor=actor)
    assert [line.text for line in op.log.lines.all()] == ["alice asked to cancel"]


@pytest.mark.django_db(transaction=True)
def test_many_threads_at_once_run_it_one_after_the_other(workspace: Workspace) -> None:
    op = begin(workspace)
    inside, most, refused = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, refused
        for _ in range(10):
            with claimed(op.pk) as mine:
                if mine is None:
                    refused += 1
                    continue
                with guard:
                    inside += 1
                    most = max(most, inside)
                with guard:
                    inside -= 1
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not Operation.objects.get(pk=op.pk).claimed_by


def test_a_worker_runs_a_started_operation_to_its_end(celery_worker: object, workspace: Workspace) -> None:
    op = begin(workspace, end=True)
    assert RAN.once.wait(10)
    wait_for_end(op)
    assert op.state == OperationState.SUCCEEDED


def test_a_wake_during_a_run_makes_it_run_once_more(celery_worker: object, workspace: Workspace) -> None:
    RAN.hold.clear()
    op = begin(workspace)
    assert RAN.once.wait(10)
    operations.wake(op.pk)
    wait_until(lambda: Operation.objects.get(pk=op.pk).wake_requested)
    RAN.hold.set()
    assert RAN.twice.wait(10)


def test_unfinished_operations_go_on_after_a_restart(celery_worker: object, workspace: Workspace) -> None:
    op = begin(workspace, end=True)
    wait_for_end(op)
    Operation.objects.filter(pk=op.pk).update(
        state=OperationState.RUNNING, claimed_by="the process before", heartbeat_at=timezone.now()
    )
    assert operations.requeue_unfinished() == 1
    wait_for_end(op)
    assert op.state == OperationState.SUCCEEDED


def wait_for_end(op: Operation) -> None:
    wait_until(lambda: Operation.objects.get(pk=op.pk).finished)
    op.refresh_from_db()


def wait_until(true: Any) -> None:
    pause = threading.Event()
    for _ in range(500):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("It did not happen within 10 s.")
