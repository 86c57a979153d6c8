"""The status of an OnlineEndpoint: what it says, and when it is written."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from routerd.autoscale.policy import Figures
from routerd.autoscale.scaler import run_scaler
from routerd.control import Condition, InForce
from routerd.haproxy.process import HaproxyProcess
from routerd.load import run_load
from routerd.samples import Decision, Requests, Sample
from routerd.settings import Settings
from routerd.status import Seen, build_status, run_status, stamp, without_load
from tests.routerd.conftest import StartModel, deployment, endpoint
from tests.routerd.kube import Stage, connect, run_cluster
from tests.routerd.observed import observe

READY = Condition("Ready", True, "Answering", "1 ready replicas take traffic.")
FIGURES = Figures(in_flight=2.0, queued=4.0, concurrency=1, target=70, wanted_raw=9, min=1, max=3)
DECISION = Decision(1_700_000_000.0, "team-a", "credit", "blue", 1, 3, "load 600 % over 70 %", FIGURES)
SAMPLE = Sample(0, 1.0, "team-a", "credit", "blue", Requests(), None, 0.96, 2.2, 1, 1, 3, 1.0)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 1, 13, tzinfo=UTC)

_numbers = itertools.count(1)


def status_of(*conditions: Condition, generation: int = 4) -> dict[str, Any]:
    in_force = InForce(generation=generation, key_revision=2, conditions=conditions)
    return build_status(
        endpoint(deployment("blue")),
        in_force=in_force,
        seen={"blue": Seen(asked=3, sample=SAMPLE, decision=DECISION)},
        routers={"routerd-1": in_force},
        address=None,
    )


def test_the_status_says_what_is_in_force_and_why_there_are_so_many_replicas():
    assert status_of(READY) == {
        "observedGeneration": 4,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Answering",
                "message": "1 ready replicas take traffic.",
                "observedGeneration": 4,
            }
        ],
        "deployments": [
            {
                "name": "blue",
                "ready": 0,
                "desired": 3,
                "busy": 1,
                "queued": 3,
                "lastDecision": {"at": "2023-11-14T22:13:20Z", "from": 1, "to": 3, "reason": "load 600 % over 70 %"},
            }
        ],
        "routers": [{"name": "routerd-1", "generation": 4, "keyRevision": 2}],
    }


def test_a_transition_time_moves_only_with_the_condition_s_status():
    first = stamp(status_of(READY), before={}, at=NOON)
    assert first["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    other_words = stamp(status_of(replace(READY, message="2 ready replicas take traffic.")), before=first, at=LATER)
    assert other_words["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00Z"
    fallen = stamp(status_of(replace(READY, status=False, reason="NoReadyReplica")), before=other_words, at=LATER)
    assert fallen["conditions"][0]["lastTransitionTime"] == "2026-01-01T13:00:00Z"


def test_the_last_decision_stays_until_there_is_a_new_one():
    before = stamp(status_of(READY), before={}, at=NOON)
    forgotten = without_decision(before)
    assert stamp(forgotten, before=before, at=LATER)["deployments"] == before["deployments"]
    newer = {"at": "2026-01-01T12:00:00Z", "from": 3, "to": 1, "reason": "no request for 60 s"}
    status = forgotten | {"deployments": [forgotten["deployments"][0] | {"lastDecision": newer}]}
    assert stamp(status, before=before, at=LATER)["deployments"][0]["lastDecision"] == newer


def without_decision(status: dict[str, Any]) -> dict[str, Any]:
    (entry,) = status["deployments"]
    return status | {"deployments": [{name: value for name, value in entry.items() if name != "lastDecision"}]}


def test_load_alone_is_no_news():
    status = status_of(READY)
    busier = status | {"deployments": [status["deployments"][0] | {"busy": 9, "queued": 9}]}
    assert without_load(busier) == without_load(status)
    assert without_load(status_of(READY, generation=5)) != without_load(status)


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with run_cluster(tmp_path_factory.mktemp("cluster") / "data") as path:
        yield path


@pytest.fixture
async def stage(settings: Settings, haproxy: HaproxyProcess, kubeconfig: Path) -> AsyncIterator[Stage]:
    """A running router that leads, and one workload."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(connect(kubeconfig))
        stage = Stage(kube, namespace=f"team-{next(_numbers)}")
        await stage.prepare()
        await stage.add_workload()
        settings = replace(settings, namespaces=(stage.namespace,), address="http://10.0.0.1", pod_name="routerd-1")
        await stack.enter_async_context(observe(settings, haproxy, run_load, run_scaler, run_status, kube=kube))
        yield stage


FIXED = {"mode": "fixed", "min": 1, "max": 1}


async def until_status(stage: Stage, **expected: Any) -> dict[str, Any]:
    """Wait until the Ready condition has these fields; the whole object."""
    async with asyncio.timeout(10):
        while True:
            found = await stage.endpoint()
            conditions = found.get("status", {}).get("conditions", [{}])
            if expected.items() <= conditions[0].items():
                return found
            await asyncio.sleep(0.05)


async def test_the_status_follows_the_replicas(stage: Stage, start_model: StartModel) -> None:
    await stage.add_endpoint(scale=FIXED)
    found = await until_status(stage, status="False", reason="NoReadyReplica")
    assert found["status"]["address"] == "http://10.0.0.1"
    blue = await start_model("blue-1")
    await stage.set_replicas_ready(blue)
    found = await until_status(stage, status="True", reason="Answering")
    assert found["status"]["deployments"][0] == {"name": "blue", "ready": 1, "desired": 1, "busy": 0, "queued": 0}
    await stage.remove_replica(blue)
    await until_status(stage, status="False", reason="NoReadyReplica")


async def test_the_observed_generation_is_the_one_in_force(stage: Stage, start_model: StartModel) -> None:
    await stage.set_replicas_ready(await start_model("blue-1"))
    await stage.add_endpoint(scale=FIXED)
    await until_status(stage, observedGeneration=1)
    await stage.patch_endpoint({"auth": {"mode": "none", "keyRevision": 7}})
    found = await until_status(stage, observedGeneration=2)
    assert found["status"]["routers"] == [{"name": "routerd-1", "generation": 2, "keyRevision": 7}]
    assert found["metadata"]["generation"] == 2  # writing a status makes no new generation


async def test_a_bad_spec_is_told_in_the_condition(stage: Stage) -> None:
    await stage.add_endpoint(scale=FIXED | {"min": 3})
    found = await until_status(stage, status="False", reason="InvalidSpec")
    assert "min is 3, more than max (1)" in found["status"]["conditions"][0]["message"]


async def test_nothing_is_written_while_nothing_changes(stage: Stage, start_model: StartModel) -> None:
    await stage.set_replicas_ready(await start_model("blue-1"))
    await stage.add_endpoint(scale=FIXED)
    await until_status(stage, status="True")
    await asyncio.sleep(1.5)
    before = (await stage.endpoint())["metadata"]["resourceVersion"]
    await asyncio.sleep(2)
    assert (await stage.endpoint())["metadata"]["resourceVersion"] == before


async def test_the_last_decision_is_told_and_written_by_routerd(stage: Stage, start_model: StartModel) -> None:
    await stage.set_replicas_ready(await start_model("blue-1"))
    await stage.add_endpoint(scale={"mode": "auto", "min": 2, "max": 3})
    async with asyncio.timeout(10):
        while True:
            found = await stage.endpoint()
            (told,) = found.get("status", {}).get("deployments", [{}])
            if "lastDecision" in told:
                break
            await asyncio.sleep(0.05)
    assert told["lastDecision"]["reason"] == "minimum is 2: 1 replica asked for"
    managers = {m["manager"] for m in found["metadata"]["managedFields"] if m.get("subresource") == "status"}
    assert managers == {"routerd"}


async def test_the_transition_time_survives_a_restart_of_the_router(
    settings: Settings, haproxy: HaproxyProcess, kubeconfig: Path, start_model: StartModel
) -> None:
    async with connect(kubeconfig) as kube:
        stage = Stage(kube, namespace=f"team-{next(_numbers)}")
        await stage.prepare()
        await stage.set_replicas_ready(await start_model("blue-1"))
        await stage.add_endpoint(scale=FIXED)
        settings = replace(settings, namespaces=(stage.namespace,))
        async with observe(settings, haproxy, run_scaler, run_status, kube=kube):
            first = await until_status(stage, status="True")
        await asyncio.sleep(1.1)  # the times have whole seconds
        async with observe(replace(settings, pod_name="another"), haproxy, run_scaler, run_status, kube=kube):
            async with asyncio.timeout(10):
                while (second := await stage.endpoint())["status"]["routers"][0]["name"] != "another":  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        for found in (first, second):
            assert found["status"]["conditions"][0]["lastTransitionTime"]
        assert first["status"]["conditions"] == second["status"]["conditions"]
