"""A router of two leaves on SIGTERM, as whole processes: nobody's request is lost."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from routerd.contract import ADMIN_READYZ
from routerd.haproxy.process import running_pid
from routerd.haproxy.runtime import Runtime, RuntimeUnavailable
from routerd.peers import rank
from tests.ports import free_port
from tests.routerd.conftest import ModelServer, StartModel, endpoint_slice, eventually, router_slice
from tests.routerd.conftest import online_endpoint as open_endpoint
from tests.routerd.peers import BLUE

ADDRESSES = {"r1": "127.122.0.1", "r2": "127.122.0.2"}


@dataclass
class Pod:
    """One router as its own processes; `--objects` plays the API server."""

    name: str
    folder: Path
    ports: tuple[int, int, int]  # inference, admin, peers: the same for all
    supervisor: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return ADDRESSES[self.name]

    @property
    def run_dir(self) -> Path:
        return self.folder / self.name

    async def start(self) -> None:
        inference, admin, peers = map(str, self.ports)
        options = ["--run-dir", str(self.run_dir), "--bind", self.address, "--pod-name", self.name]
        options += ["--inference-port", inference, "--admin-port", admin, "--peer-port", peers]
        options += ["--objects", str(self.folder / "objects.json"), "--slots", "500:4,60000:4"]
        options += ["--drain-seconds", "4", "--grace-seconds", "20", "--admin-token", "t"]
        self.supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "routerd", *options, start_new_session=True
        )

    async def is_ready(self) -> bool:
        url = f"http://{self.address}:{self.ports[1]}{ADMIN_READYZ}"
        with suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                return answer.status == 200
        return False

    async def finds_others(self) -> bool:
        """Whether its HAProxy finds another router alive."""
        with suppress(RuntimeUnavailable):
            (text,) = await Runtime(self.run_dir / "admin.sock").execute("show stat -1 4 9998")
            return any(line.split(",")[17].startswith("UP") for line in text.splitlines() if line.startswith("peer"))
        return False

    async def end(self) -> None:
        if self.supervisor is not None and self.supervisor.returncode is None:
            self.supervisor.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self.supervisor.wait(), 40)


@dataclass
class Two:
    """Two routers that share one file of objects."""

    folder: Path
    ports: tuple[int, int, int] = field(default_factory=lambda: (free_port(), free_port(), free_port()))
    pods: dict[str, Pod] = field(default_factory=dict)

    def write(self, *models: ModelServer, routers: tuple[str, ...] = ("r1", "r2")) -> None:
        """Describe an open endpoint and the routers that are ready."""
        members = router_slice(**{name: ADDRESSES[name] for name in routers})
        items = [open_endpoint(), endpoint_slice(*models), members]
        partial = self.folder / "objects.new"
        partial.write_text(json.dumps({"kind": "List", "items": items}))
        partial.replace(self.folder / "objects.json")

    async def start(self) -> None:
        for name in ADDRESSES:
            self.pods[name] = Pod(name, self.folder, self.ports)
            await self.pods[name].start()
        for pod in self.pods.values():
            await eventually(pod.is_ready, seconds=30)
            await eventually(pod.finds_others, seconds=30)

    def ranked(self) -> list[Pod]:
        return [self.pods[name] for name in rank(BLUE, names=tuple(sorted(self.pods)))]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    found = Two(tmp_path)
    yield found
    for pod in found.pods.values():
        await pod.end()


@asynccontextmanager
async def calls_to(ready: set[str], *, port: int, callers: int = 6) -> AsyncIterator[Counter[str]]:
    """Requests on kept connections, each to one of the ready routers, as a Service spreads them."""
    counts: Counter[str] = Counter()
    stop = asyncio.Event()

    async def caller(number: int) -> None:
        async with aiohttp.ClientSession() as session:
            while not stop.is_set():
                names = sorted(ready)
                address = ADDRESSES[names[number % len(names)]]
                url = f"http://{address}:{port}/api/v1/endpoint/credit/score"
                try:
                    async with session.post(url, data=b"{}") as answer:
                        counts[f"{answer.status}"] += 1
                        await answer.read()
                except aiohttp.ClientError as error:
                    counts[repr(error)] += 1
                number += 1

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
        try:
            yield counts
        finally:
            stop.set()


@pytest.mark.parametrize("leaver", ["owner", "other"])
async def test_no_request_is_lost_while_a_router_of_two_leaves(two: Two, start_model: StartModel, leaver: str) -> None:
    blue = await start_model("blue-1", delay=0.003)
    two.write(blue)
    await two.start()
    owner, other = two.ranked()
    leaving, staying = (owner, other) if leaver == "owner" else (other, owner)
    ready = {"r1", "r2"}

    async with calls_to(ready, port=two.ports[0]) as counts:
        await eventually(lambda: counts["200"] > 100)
        assert leaving.supervisor is not None
        leaving.supervisor.send_signal(signal.SIGTERM)

        async def not_ready() -> bool:
            return not await leaving.is_ready()

        await eventually(not_ready)
        two.write(blue, routers=(staying.name,))  # what the EndpointSlice then says
        ready.discard(leaving.name)
        assert await asyncio.wait_for(leaving.supervisor.wait(), 40) == 0
        seen = counts["200"]
        await eventually(lambda: counts["200"] > seen + 100)

    assert counts.keys() == {"200"}
    assert running_pid(leaving.run_dir) is None
    assert blue.most_in_flight <= 8  # four of each owner's at the hand-over


async def test_a_router_that_is_leaving_answers_what_stands_in_its_line_and_takes_nothing_new(
    two: Two, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    two.write(blue)
    await two.start()
    owner, other = two.ranked()
    assert blue.released is not None
    assert owner.supervisor is not None

    async with aiohttp.ClientSession() as session:

        async def call(pod: Pod) -> int:
            url = f"http://{pod.address}:{two.ports[0]}/api/v1/endpoint/credit/score"
            async with session.post(url, data=b"{}") as answer:
                return answer.status

        in_line = [asyncio.create_task(call(other)) for _ in range(6)]  # four at the model, two in the owner's queue
        await eventually(lambda: blue.in_flight == 4)
        owner.supervisor.send_signal(signal.SIGTERM)

        async def left_alone() -> bool:
            return not await other.finds_others()

        await eventually(left_alone)
        later = [asyncio.create_task(call(pod)) for pod in (other, owner)]  # it still listens, and passes on
        await eventually(lambda: blue.in_flight == 6)  # both counted by the new owner: the old one has its four
        blue.released.set()

        assert await asyncio.gather(*in_line, *later) == [200] * 8
        assert await asyncio.wait_for(owner.supervisor.wait(), 40) == 0
