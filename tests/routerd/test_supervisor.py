"""`python -m routerd` as a whole: what dies comes back, and callers hardly notice."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from routerd.contract import ADMIN_READYZ
from routerd.haproxy.process import running_pid
from routerd.haproxy.runtime import Runtime
from tests.ports import free_port
from tests.routerd.conftest import ModelServer, StartModel, eventually


@dataclass
class Pod:
    """One run directory, its object file, and the supervisor running on it."""

    folder: Path
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    supervisor: asyncio.subprocess.Process | None = None

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/endpoint/credit/score"

    def write(self, *models: ModelServer) -> None:
        """Describe an open endpoint served by these models."""
        documents = {"kind": "List", "items": [online_endpoint(), *(endpoint_slice(m) for m in models)]}
        partial = self.folder / "objects.new"
        partial.write_text(json.dumps(documents))
        partial.replace(self.folder / "objects.json")

    async def start(self) -> None:
        options = ["--run-dir", str(self.run_dir), "--bind", "127.0.0.1", "--objects"]
        options += [str(self.folder / "objects.json"), "--slots", "500:4,60000:4"]
        options += ["--inference-port", str(self.port), "--admin-port", str(self.admin_port)]
        options += ["--drain-seconds", "0.2", "--grace-seconds", "5", "--admin-token", "t"]
        self.supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "routerd", *options, start_new_session=True
        )

    def haproxy(self) -> int | None:
        return running_pid(self.run_dir)

    async def worker(self) -> int:
        return (await Runtime(self.run_dir / "admin.sock").process_ids())[0]

    def control(self) -> int | None:
        """The control process: the supervisor's child that holds the lock."""
        assert self.supervisor is not None
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.supervisor.pid and int(entry.name) != self.haproxy():
                    return int(entry.name)
        return None

    async def is_ready(self) -> bool:
        """What the admin API's readiness probe says."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.admin_port}{ADMIN_READYZ}") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def wait_ready(self) -> None:
        await eventually(self.is_ready)

    async def end(self) -> None:
        """End whatever is left, by process id."""
        if self.supervisor is not None and self.supervisor.returncode is None:
            self.supervisor.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.supervisor.wait(), 15)
            except TimeoutError:
                self.supervisor.kill()
                await self.supervisor.wait()
        pid = self.haproxy()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            await eventually(lambda: self.haproxy() is None)


def online_endpoint() -> dict[str, object]:
    deployment = {
        "name": "blue",
        "service": "credit--blue",
        "workload": "credit--blue",
        "maxConcurrentRequestsPerInstance": 4,
        "maxQueue": 50,
        "maxQueueWaitMs": 60_000,
        "requestTimeoutMs": 5000,
        "scale": {"mode": "fixed", "min": 1, "max": 1},
    }
    spec = {"auth": {"mode": "none"}, "traffic": {"blue": 100}, "deployments": [deployment]}
    metadata = {"namespace": "team-a", "name": "credit", "uid": "u", "generation": 1}
    return {"kind": "OnlineEndpoint", "metadata": metadata, "spec": spec}


def endpoint_slice(model: ModelServer) -> dict[str, object]:
    labels = {"kubernetes.io/service-name": "credit--blue"}
    return {
        "kind": "EndpointSlice",
        "metadata": {"namespace": "team-a", "name": f"slice-{model.name}", "labels": labels},
        "ports": [{"port": model.port}],
        "endpoints": [
            {
                "addresses": [model.address],
                "conditions": {"ready": True},
                "targetRef": {"name": model.name},
            }
        ],
    }


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    found = Pod(folder=tmp_path)
    yield found
    await found.end()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as found:
        yield found


async def answers(session: aiohttp.ClientSession, pod: Pod) -> str:
    async with session.post(pod.url, data=b"{}") as answer:
        return await answer.text() if answer.status == 200 else f"status {answer.status}"


async def until_answers(session: aiohttp.ClientSession, pod: Pod, expected: str) -> None:
    async def so() -> bool:
        with suppress(aiohttp.ClientError):
            return await answers(session, pod) == expected
        return False

    await eventually(so)


@asynccontextmanager
async def under_load(session: aiohttp.ClientSession, pod: Pod) -> AsyncIterator[Counter[str]]:
    counts: Counter[str] = Counter()
    stop = asyncio.Event()

    async def caller() -> None:
        while not stop.is_set():
            counts[await answers(session, pod)] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        try:
            yield counts
        finally:
            stop.set()


async def test_a_killed_control_process_is_not_noticed_by_callers_and_its_successor_adopts(
    pod: Pod, session: aiohttp.ClientSession, start_model: StartModel
) -> None:
    blue, late = await start_model("blue-1"), await start_model("blue-2")
    pod.write(blue)
    await pod.start()
    await until_answers(session, pod, "blue-1")
    worker, killed = await pod.worker(), pod.control()
    assert killed is not None

    async with under_load(session, pod) as counts:
        os.kill(killed, signal.SIGKILL)
        await eventually(lambda: pod.control() not in (None, killed))
        await pod.wait_ready()

    assert counts.keys() == {"blue-1"}
    assert await pod.worker() == worker
    pod.write(late)
    await until_answers(session, pod, "blue-2")
    assert await pod.worker() == worker


@pytest.mark.parametrize("victim", ["master", "worker"])
async def test_a_killed_haproxy_is_back_within_a_second_with_the_last_table(
    pod: Pod, session: aiohttp.ClientSession, start_model: StartModel, victim: str
) -> None:
    blue = await start_model("blue-1")
    pod.write(blue)
    await pod.start()
    await until_answers(session, pod, "blue-1")
    control, old = pod.control(), pod.haproxy()
    assert old is not None

    os.kill(old if victim == "master" else await pod.worker(), signal.SIGKILL)
    start = time.monotonic()
    await eventually(lambda: pod.haproxy() not in (None, old))
    await until_answers(session, pod, "blue-1")

    assert time.monotonic() - start < 1
    assert pod.control() == control
    late = await start_model("blue-2")
    pod.write(late)
    await until_answers(session, pod, "blue-2")


async def test_a_killed_haproxy_comes_back_without_python(
    pod: Pod, session: aiohttp.ClientSession, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    pod.write(blue)
    await pod.start()
    await until_answers(session, pod, "blue-1")
    (pod.folder / "objects.json").unlink()
    control, haproxy = pod.control(), pod.haproxy()
    assert control is not None
    assert haproxy is not None

    os.kill(control, signal.SIGSTOP)
    try:
        os.kill(haproxy, signal.SIGKILL)
        await eventually(lambda: pod.haproxy() not in (None, haproxy))
        await until_answers(session, pod, "blue-1")
    finally:
        os.kill(control, signal.SIGCONT)


async def test_sigterm_answers_what_runs_and_then_ends_everything(
    pod: Pod, session: aiohttp.ClientSession, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    pod.write(blue)
    await pod.start()
    await until_answers(session, pod, "blue-1")
    assert pod.supervisor is not None
    control = pod.control()
    blue.released = asyncio.Event()
    blue.arrived.clear()

    running = asyncio.create_task(answers(session, pod))
    await blue.arrived.wait()
    pod.supervisor.send_signal(signal.SIGTERM)

    async def not_ready() -> bool:
        return not await pod.is_ready()

    await eventually(not_ready)
    await eventually(lambda: refuses(pod.port), seconds=5)
    blue.released.set()

    assert await running == "blue-1"
    assert await asyncio.wait_for(pod.supervisor.wait(), 10) == 0
    assert pod.haproxy() is None
    assert not Path(f"/proc/{control}").exists()


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def test_haproxy_outlives_a_killed_supervisor_and_the_next_one_adopts_it(
    pod: Pod, session: aiohttp.ClientSession, start_model: StartModel
) -> None:
    blue, late = await start_model("blue-1"), await start_model("blue-2")
    pod.write(blue)
    await pod.start()
    await until_answers(session, pod, "blue-1")
    assert pod.supervisor is not None
    haproxy, control = pod.haproxy(), pod.control()

    async with under_load(session, pod) as counts:
        pod.supervisor.kill()
        await pod.supervisor.wait()
        await eventually(lambda: not Path(f"/proc/{control}").exists())
        await pod.start()
        await eventually(lambda: pod.control() is not None)
        await pod.wait_ready()

    assert counts.keys() == {"blue-1"}
    assert pod.haproxy() == haproxy
    pod.write(late)
    await until_answers(session, pod, "blue-2")


async def test_a_misspelt_setting_stops_the_program_with_its_name() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "routerd",
        env=os.environ | {"ROUTERD_LOG_SAMPEL": "10"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, error = await asyncio.wait_for(process.communicate(), 20)

    assert process.returncode == 2
    assert "ROUTERD_LOG_SAMPEL" in error.decode()
