"""Jobs: the decisions as values, then real ones."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clusters.embedded.controllers.jobs import Tally, back_off_in, verdict, wanted_pods
from clusters.embedded.errors import NotImplementedHere
from clusters.embedded.resources import EVENTS, JOBS, PODS
from tests.clusters.embedded.conftest import Starter, World, container

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def job(name: str = "j", command: list[str] | None = None, **spec: Any) -> dict[str, Any]:
    main = container(command or ["true"])
    template = {"spec": {"containers": [main], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}}
    return {"metadata": {"name": name}, "spec": {"template": template, **spec}}


def tally(active: int = 0, succeeded: int = 0, failed: int = 0, restarts: int = 0) -> Tally:
    return Tally(active, 0, succeeded, failed, restarts, NOW if failed else None)


@pytest.mark.parametrize(
    ("spec", "given", "reason"),
    [
        ({"completions": 2}, tally(succeeded=1), None),
        ({"completions": 2}, tally(succeeded=2), "CompletionsReached"),
        ({"completions": 1, "backoffLimit": 0}, tally(failed=1), "BackoffLimitExceeded"),
        ({"completions": 1, "backoffLimit": 1}, tally(failed=1), None),
        ({"completions": 1, "backoffLimit": 1}, tally(active=1, restarts=2), "BackoffLimitExceeded"),
        ({"parallelism": 2}, tally(active=1, succeeded=1), None),  # a queue of work: nobody else is started
        ({"parallelism": 2}, tally(succeeded=1), "CompletionsReached"),
        ({"completions": 1, "activeDeadlineSeconds": 9}, tally(active=1), "DeadlineExceeded"),
    ],
)
def test_a_job_ends_for_its_reason(spec: dict[str, Any], given: Tally, reason: str | None) -> None:
    body = {**job(**spec), "status": {"startTime": (NOW - timedelta(seconds=10)).isoformat()}}
    found = verdict(body, tally=given, now=NOW)
    assert (found.reason if found else None) == reason


def test_pods_are_as_many_as_are_missing_within_parallelism() -> None:
    assert wanted_pods(job(completions=5, parallelism=2), tally=tally(succeeded=1)) == 2
    assert wanted_pods(job(completions=5, parallelism=2), tally=tally(succeeded=4)) == 1
    assert wanted_pods(job(parallelism=3), tally=tally(active=1, succeeded=1)) == 1


def test_each_failure_doubles_the_pause() -> None:
    assert back_off_in(tally(), base=10, now=NOW) == 0
    assert back_off_in(tally(failed=3), base=10, now=NOW) == 40
    assert back_off_in(tally(failed=30), base=10, now=NOW) == 360
    assert back_off_in(tally(failed=1), base=10, now=NOW + timedelta(seconds=11)) == 0


def conditions(world: World, name: str = "j") -> dict[str, str]:
    status = world.cluster.registry.get(JOBS, "default", name).get("status") or {}
    return {c["type"]: c["reason"] for c in status.get("conditions") or ()}


async def test_a_job_completes_tells_so_and_goes_after_its_time(world: World) -> None:
    registry = world.cluster.registry
    # Times are whole seconds: of one, a moment may be left.
    registry.create(JOBS, job(completions=3, parallelism=2, ttlSecondsAfterFinished=2), namespace="default")
    await world.until(lambda: "Complete" in conditions(world))
    status = registry.get(JOBS, "default", "j")["status"]
    assert (status["succeeded"], status.get("active", 0)) == (3, 0)
    assert status["completionTime"]
    assert "Completed" in {e["reason"] for e in registry.list(EVENTS, "default")}
    await world.until(lambda: registry.find(JOBS, "default", "j") is None)
    await world.until(lambda: not registry.list(PODS, "default"))


async def test_a_job_that_keeps_failing_is_given_up(start: Starter) -> None:
    world = await start()
    world.cluster.registry.create(JOBS, job(command=["false"], backoffLimit=2), namespace="default")
    await world.until(lambda: conditions(world).get("Failed") == "BackoffLimitExceeded")
    assert len(world.pods()) == 3


async def test_a_job_over_its_deadline_is_ended_with_its_pods(world: World) -> None:
    body = job(command=["sleep", "1000"], activeDeadlineSeconds=1)
    world.cluster.registry.create(JOBS, body, namespace="default")
    await world.until(lambda: conditions(world).get("Failed") == "DeadlineExceeded")
    await world.until(lambda: not world.pods())


async def test_indexed_jobs_are_refused(world: World) -> None:
    with pytest.raises(NotImplementedHere, match="Indexed"):
        world.cluster.registry.create(JOBS, job(completionMode="Indexed", completions=2), namespace="default")
