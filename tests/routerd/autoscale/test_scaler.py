"""Scaling against a real API server, with load that really waits in a real HAProxy."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from lightkube.types import PatchType

from routerd.autoscale.scaler import identity, run_scaler
from routerd.autoscale.workloads import Workload
from routerd.haproxy.process import HaproxyProcess
from routerd.load import run_load
from routerd.samples import Decision
from routerd.settings import Settings
from tests.routerd.conftest import ModelServer, StartModel
from tests.routerd.kube import Lease, Stage, connect, run_cluster
from tests.routerd.observed import Observed, observe, until

AUTO = {"mode": "auto", "min": 1, "max": 5, "targetUtilization": 70, "scaleDownDelaySeconds": 2}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with run_cluster(tmp_path_factory.mktemp("cluster") / "data") as path:
        yield path


@dataclass
class Scene:
    """A running router, its cluster, and callers who do not hang up."""

    stage: Stage
    observed: Observed
    blue: ModelServer

    def __post_init__(self) -> None:
        self.calls: list[asyncio.Task[Any]] = []

    def decisions(self) -> list[Decision]:
        return self.observed.board.history.decisions.after(0, limit=100)[0]

    async def call(self, count: int) -> None:
        self.calls += [asyncio.create_task(self.observed.callers.call(key=None)) for _ in range(count)]
        await self.blue.arrived.wait()

    async def answer_all(self) -> None:
        assert self.blue.released is not None
        self.blue.released.set()
        answers = await asyncio.gather(*self.calls)
        assert {answer.status for answer in answers} <= {200}

    async def until_asked(self, replicas: int, *, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while await self.stage.replicas() != replicas:  # noqa: ASYNC110 - the end state, as a reader sees it
                await asyncio.sleep(0.05)

    async def stays(self, replicas: int, *, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            assert await self.stage.replicas() == replicas
            await asyncio.sleep(0.1)


@pytest.fixture
async def scene(
    settings: Settings, haproxy: HaproxyProcess, kubeconfig: Path, start_model: StartModel
) -> AsyncIterator[Scene]:
    """One replica that answers when told to; no endpoint and no workload yet."""
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(connect(kubeconfig))
        stage = Stage(kube, namespace=f"team-{next(_numbers)}")
        await stage.prepare()
        blue = await start_model("blue-1", released=asyncio.Event())
        await stage.set_replicas_ready(blue)
        settings = replace(settings, namespaces=(stage.namespace,))
        observed = await stack.enter_async_context(observe(settings, haproxy, run_load, run_scaler, kube=kube))
        scene = Scene(stage, observed, blue)
        yield scene
        for call in scene.calls:
            call.cancel()


async def until_loaded(scene: Scene) -> None:
    await until(lambda: scene.observed.board.asked and scene.observed.board.meter.last_sample)


async def test_scales_up_within_a_second_of_the_load_and_tells_why(scene: Scene) -> None:
    await scene.stage.add_workload()
    await scene.stage.add_endpoint(scale=AUTO)
    await until_loaded(scene)
    started = asyncio.get_running_loop().time()
    await scene.call(3)
    await until(scene.decisions)
    assert asyncio.get_running_loop().time() - started < 1.2
    await scene.until_asked(5)
    last = scene.decisions()[-1]
    assert last.after == 5
    assert last.reason.startswith("load ")
    assert "over 70 %" in last.reason
    assert sum(decision.after - decision.before for decision in scene.decisions()) == 4
    await scene.answer_all()


async def test_the_scale_is_written_by_routerd_and_nothing_else_of_the_workload(scene: Scene) -> None:
    await scene.stage.add_workload()
    before = await scene.stage.workload()
    await scene.stage.add_endpoint(scale=AUTO | {"min": 2})
    await scene.until_asked(2)
    after = await scene.stage.workload()
    assert after["spec"] == before["spec"] | {"replicas": 2}
    manager = next(m for m in after["metadata"]["managedFields"] if m["manager"] == "routerd")
    assert manager["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


async def test_scales_down_after_the_delay_and_not_before(scene: Scene) -> None:
    await scene.stage.add_workload(replicas=4)
    await scene.stage.add_endpoint(scale=AUTO)
    await until_loaded(scene)
    started = asyncio.get_running_loop().time()
    await scene.until_asked(1)
    assert asyncio.get_running_loop().time() - started > 1.5
    assert [(d.before, d.after) for d in scene.decisions() if d.ready_at is None] == [(4, 1)]


async def test_a_decision_is_completed_when_its_replicas_are_ready(scene: Scene, start_model: StartModel) -> None:
    await scene.stage.add_workload()
    await scene.stage.add_endpoint(scale=AUTO | {"max": 2})
    await until_loaded(scene)
    await scene.call(2)
    await scene.until_asked(2)
    assert [decision.ready_at for decision in scene.decisions()] == [None]
    await scene.stage.set_replicas_ready(await start_model("blue-2"))
    done = await until(lambda: next((d for d in scene.decisions() if d.ready_at), None))
    assert (done.id, done.seq) == (1, 2)
    assert done.ready_at > done.at
    await scene.answer_all()


async def test_a_fixed_count_is_never_touched(scene: Scene) -> None:
    await scene.stage.add_workload(replicas=2)
    await scene.stage.add_endpoint(scale=AUTO | {"mode": "fixed", "min": 1, "max": 1})
    await until_loaded(scene)
    await scene.call(8)
    await scene.stays(2, seconds=3)
    assert scene.decisions() == []


async def test_a_bound_is_told_once_however_long_it_holds(scene: Scene) -> None:
    await scene.stage.add_workload()
    await scene.stage.add_endpoint(scale=AUTO | {"max": 1})
    await until_loaded(scene)
    await scene.call(6)
    await until(scene.decisions)
    await scene.stays(1, seconds=2)
    (told,) = scene.decisions()
    assert (told.before, told.after) == (1, 1)
    assert told.reason.endswith("bounded by max 1")


async def test_a_count_changed_by_hand_is_brought_back(scene: Scene) -> None:
    await scene.stage.add_workload()
    await scene.stage.add_endpoint(scale=AUTO)
    await until_loaded(scene)
    await scene.stage.kube.patch(
        Workload.Scale,
        "credit--blue",
        {"spec": {"replicas": 0}},
        namespace=scene.stage.namespace,
        patch_type=PatchType.MERGE,
        field_manager="kubectl",
    )
    await scene.until_asked(1)


async def test_unknown_load_holds_the_count(scene: Scene, haproxy: HaproxyProcess) -> None:
    await scene.stage.add_workload(replicas=4)
    await scene.stage.add_endpoint(scale=AUTO | {"scaleDownDelaySeconds": 4})
    await until_loaded(scene)
    haproxy.send(signal.SIGTERM)
    await scene.stays(4, seconds=6)
    assert scene.decisions() == []


def test_no_two_routers_have_the_same_name_in_the_election(settings: Settings) -> None:
    pods = [replace(settings, pod_name="routerd-a", pod_uid=uid) for uid in ("1", "2")]
    outside = [replace(settings, run_dir=Path(name)) for name in ("/run/a", "/run/b")]
    assert len({identity(each) for each in (*pods, *outside)}) == 4
    assert identity(pods[0]) == identity(replace(pods[0]))


async def test_a_router_that_follows_decides_nothing_until_it_leads(
    settings: Settings, haproxy: HaproxyProcess, kubeconfig: Path
) -> None:
    async with connect(kubeconfig) as kube:
        stage = Stage(kube, namespace=f"team-{next(_numbers)}")
        await stage.prepare()
        await stage.add_workload()
        await stage.add_endpoint(scale=AUTO | {"min": 3})
        metadata = {"name": "routerd-leader", "namespace": stage.namespace}
        await kube.create(Lease({"metadata": metadata, "spec": {"holderIdentity": "x", "leaseDurationSeconds": 3}}))
        settings = replace(settings, namespaces=(stage.namespace,), pod_namespace=stage.namespace, leader_election=True)
        async with observe(settings, haproxy, run_load, run_scaler, kube=kube) as observed:
            await until(lambda: observed.board.asked)
            assert await stage.replicas() == 1
            assert not observed.board.leading
            await until(lambda: observed.board.leading)  # nobody renews that lease
            await until(lambda: observed.board.history.decisions.last)
            assert await stage.replicas() == 3


async def test_a_workload_that_comes_later_is_scaled_when_it_is_there(scene: Scene) -> None:
    await scene.stage.add_endpoint(scale=AUTO | {"min": 3})
    await until(lambda: scene.observed.board.meter.last_sample)
    assert scene.decisions() == []
    await scene.stage.add_workload()
    await scene.until_asked(3)


async def test_scales_to_zero_and_back_for_the_first_request(scene: Scene) -> None:
    await scene.stage.add_workload()
    await scene.stage.add_endpoint(scale=AUTO | {"min": 0})
    await until_loaded(scene)
    await scene.until_asked(0)
    await scene.stage.remove_replica(scene.blue)
    await until(lambda: scene.decisions()[-1].ready_at)  # "ready" means gone, on the way down
    scene.calls.append(asyncio.create_task(scene.observed.callers.call(key=None)))
    await scene.until_asked(1)
    await scene.stage.set_replicas_ready(scene.blue)
    await scene.answer_all()


async def test_samples_tell_how_many_replicas_are_asked_for(scene: Scene) -> None:
    await scene.stage.add_workload(replicas=3)
    await scene.stage.add_endpoint(scale=AUTO | {"min": 3})
    await until(lambda: any(s.replicas_wanted == 3 for s in scene.observed.board.meter.last_sample.values()))
