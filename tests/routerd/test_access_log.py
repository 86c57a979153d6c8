"""The pipe of the access log: what is in it while nobody reads, and what becomes of it."""

import asyncio
import fcntl
import json
import signal
import sys
import termios
from io import FileIO
from pathlib import Path

import aiohttp
import pytest

from routerd.access_log import read_log
from routerd.haproxy.log_pipe import open_log_pipe
from routerd.haproxy.process import HaproxyProcess
from routerd.load import run_load
from routerd.settings import Settings
from tests.routerd.conftest import Router
from tests.routerd.observed import observe, until

BURST = 1000


async def refuse(router: Router, *, times: int) -> None:
    """Ask for an endpoint that is not there: every answer is logged."""
    answers = await asyncio.gather(*(router.call(name="nobody", method="GET", data=None) for _ in range(times)))
    assert {answer.status for answer in answers} == {404}


def requests_in(printed: str) -> list[str]:
    """The endpoints of the requests among the lines of JSON."""
    records = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [record["endpoint"] for record in records if record.get("event") == "request"]


def waiting_bytes(pipe: FileIO) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


async def test_a_burst_of_refusals_is_logged_whole_although_nobody_reads_meanwhile(router: Router) -> None:
    await refuse(router, times=BURST)
    lines = await router.logged(BURST)
    assert len(lines) == BURST
    assert all(b"no_endpoint" in line for line in lines)


async def test_a_full_pipe_holds_up_nobody_and_keeps_what_it_has(router: Router) -> None:
    with open_log_pipe(router.settings.log_pipe) as pipe:
        filler = b"x" * 4095 + b"\n"
        while pipe.write(filler):
            pass
        await refuse(router, times=100)
        assert await router.runtime.show_dropped_records() == 100
        while pipe.read(1 << 20):
            pass
    await refuse(router, times=1)
    assert b"no_endpoint" in (await router.logged(1))[-1]


async def test_the_log_goes_on_where_haproxy_was_killed_and_started_again(
    router: Router, haproxy: HaproxyProcess
) -> None:
    with open_log_pipe(router.settings.log_pipe):  # as its reader has it
        await refuse(router, times=3)
        haproxy.send(signal.SIGKILL)
        assert haproxy.wait_ended(timeout_seconds=5)
        haproxy.start()
        haproxy.wait_ready(timeout_seconds=10)
        await refuse(router, times=2)
        assert len(await router.logged(5)) == 5


async def test_what_happened_before_the_reader_came_is_passed_on_but_not_counted(
    settings: Settings, haproxy: HaproxyProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"http://{settings.bind}:{settings.inference_port}/api/v1/endpoint"
    async with aiohttp.ClientSession() as session, session.get(f"{address}/before") as answer:
        assert answer.status == 404
    with open_log_pipe(settings.log_pipe) as pipe:  # HAProxy logs once it has answered
        await until(lambda: waiting_bytes(pipe) > 0)
    printed = ""

    def seen(*names: str) -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return requests_in(printed) == list(names)

    async with observe(settings, haproxy, run_load) as observed:
        await until(lambda: seen("before"))
        assert (await observed.callers.call(name="after")).status == 404
        await until(lambda: seen("before", "after"))
        assert observed.board.meter.refusals == {"no_endpoint": 1}


async def test_a_line_that_comes_in_pieces_is_one_line(tmp_path: Path) -> None:
    found: list[bytes] = []

    async def read() -> None:
        async for lines in read_log(tmp_path / "log.pipe"):
            found.extend(lines)

    reading = asyncio.create_task(read())
    with open_log_pipe(tmp_path / "log.pipe") as pipe:
        for part in (b"one\ntw", b"o\nth", b"ree\n"):
            pipe.write(part)
            await asyncio.sleep(0)
        await until(lambda: len(found) == 3)
    reading.cancel()
    assert found == [b"one", b"two", b"three"]
