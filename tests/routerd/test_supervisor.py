"""`python -m routerd` as a whole: what dies comes back, and callers hardly notice."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.routerd.conftest import StartModel, eventually
from tests.routerd.pod import Pod


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


@pytest.mark.parametrize("hindrance", ["port", "pipe"])
async def test_a_first_start_that_fails_says_why_in_one_sentence(pod: Pod, hindrance: str) -> None:
    with socket.socket() as other:
        if hindrance == "port":
            other.bind(("127.0.0.1", pod.port))
            other.listen()
        else:
            (pod.run_dir / "log.pipe").mkdir(parents=True)
        pod.write()
        await pod.start(stderr=asyncio.subprocess.PIPE)
        assert pod.supervisor is not None
        _, told = await asyncio.wait_for(pod.supervisor.communicate(), 20)

    last = told.decode().splitlines()[-1]
    assert pod.supervisor.returncode == 1
    assert last.startswith("routerd: ")
    assert (f"127.0.0.1:{pod.port}" if hindrance == "port" else "log.pipe cannot be made a named pipe") in last
    assert "Traceback" not in told.decode()
