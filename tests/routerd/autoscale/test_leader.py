"""The election: its rules, and two routers against a real API server."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from routerd.autoscale.leader import Leader, Sight, Step, Timing, claim, judge
from tests.routerd.kube import Lease, Stage, connect, run_cluster

AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
HELD = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "x", "acquireTime": "w", "leaseTransitions": 4}


@pytest.mark.parametrize(
    ("spec", "looked_at_for", "step"),
    [
        ({}, 0, Step.TAKE),
        ({"holderIdentity": ""}, 0, Step.TAKE),
        (HELD, 0, Step.WAIT),
        (HELD, 14.9, Step.WAIT),
        (HELD, 15, Step.TAKE),
        (HELD | {"holderIdentity": "me"}, 0, Step.RENEW),
        (HELD | {"holderIdentity": "me"}, 99, Step.RENEW),
        (HELD | {"leaseDurationSeconds": 60}, 59, Step.WAIT),
    ],
)
def test_a_lease_is_taken_when_it_is_free_or_was_not_renewed_for_its_duration(spec, looked_at_for, step):
    assert judge(Sight(spec=spec, since=100.0), me="me", now=100.0 + looked_at_for) is step


def test_every_renewal_that_is_seen_starts_the_wait_anew():
    sight = Sight(spec=HELD, since=100.0).look(HELD | {"renewTime": "y"}, now=114.0)
    assert judge(sight, me="me", now=128.0) is Step.WAIT
    assert sight.look(HELD | {"renewTime": "y"}, now=120.0).since == 114.0


def test_taking_over_counts_a_transition_and_renewing_does_not():
    taken = claim(HELD, me="me", seconds=15, at=AT)
    assert (taken["leaseTransitions"], taken["acquireTime"]) == (5, "2026-01-02T03:04:05.000006Z")
    renewed = claim(HELD, me="a", seconds=15, at=AT)
    assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (4, "w")
    assert claim({}, me="me", seconds=15, at=AT)["leaseTransitions"] == 0


def test_a_leader_stops_acting_before_another_may_start():
    assert Timing().renew < Timing().deadline < Timing().lease


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with run_cluster(tmp_path_factory.mktemp("cluster") / "data") as path:
        yield path


class Wire:
    """A relay to an API server that can be cut, so that what passes it gets no answer."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = yaml.safe_load(kubeconfig.read_text())
        self._target = self._config["clusters"][0]["cluster"]["server"].removeprefix("https://").split(":")
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._port = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, kubeconfig: Path) -> AsyncIterator["Wire"]:
        wire = cls(kubeconfig)
        await wire.mend()
        yield wire
        wire.cut()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()

    def write_kubeconfig(self, folder: Path) -> Path:
        self._config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._port}"
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(self._config))
        return path

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target[0], int(self._target[1]))
        self._open |= {writer, back}
        await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        self._open -= {writer, back}

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()


class Router:
    """One router's part in the election, with a client of its own."""

    def __init__(self, stage: Stage, *, name: str) -> None:
        timing = Timing(lease=2, renew=0.3, deadline=1.2, follow=0.1)
        self.leader = Leader(stage.kube, me=name, namespace=stage.namespace, timing=timing)
        self.task = asyncio.create_task(self.leader.run())

    def leads(self) -> bool:
        return self.leader.leads(now=time.monotonic())

    async def until(self, *, leading: bool, seconds: float = 5) -> None:
        async with asyncio.timeout(seconds):
            while self.leads() != leading:  # noqa: ASYNC110 - leading is a matter of the clock
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def stage(kubeconfig: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(connect(kubeconfig))
        name = request.node.name.replace("_", "-")[5:55].strip("-")
        stage = Stage(kube, namespace=name)
        await stage.prepare()
        yield stage


async def test_one_of_two_leads_and_the_other_follows_when_it_ends(stage: Stage) -> None:
    first = Router(stage, name="first")
    await first.until(leading=True)
    second = Router(stage, name="second")
    await asyncio.sleep(0.5)
    assert (first.leads(), second.leads()) == (True, False)
    stopped = asyncio.get_running_loop().time()
    await first.stop()
    await second.until(leading=True)
    assert asyncio.get_running_loop().time() - stopped < 1.5  # given back, not run out
    lease = await stage.kube.get(Lease, "routerd-leader", namespace=stage.namespace)
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("second", 1)
    await second.stop()


async def test_a_leader_cut_off_from_the_api_server_stops_before_the_other_starts(
    stage: Stage, kubeconfig: Path, tmp_path: Path
) -> None:
    async with Wire.to(kubeconfig) as wire, connect(wire.write_kubeconfig(tmp_path)) as kube:
        first = Router(Stage(kube, stage.namespace), name="first")
        await first.until(leading=True)
        second = Router(stage, name="second")
        wire.cut()
        cut = asyncio.get_running_loop().time()
        await first.until(leading=False)
        assert not second.leads()
        await second.until(leading=True)
        assert asyncio.get_running_loop().time() - cut < 4
        assert not first.task.done()  # it goes on trying
        await wire.mend()
        await asyncio.sleep(1)
        assert (first.leads(), second.leads()) == (False, True)
        await first.stop()
        await second.stop()


async def test_of_many_that_start_at_once_exactly_one_leads(stage: Stage) -> None:
    routers = [Router(stage, name=f"router-{number}") for number in range(5)]
    await asyncio.sleep(2.5)
    assert sum(router.leads() for router in routers) == 1
    for router in routers:
        await router.stop()
