"""The load as it is read from a real HAProxy's counters and access log."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from routerd.haproxy.process import HaproxyProcess
from routerd.load import run_load
from routerd.samples import Requests, Sample
from routerd.settings import Settings
from tests.routerd.conftest import StartModel, deployment, endpoint
from tests.routerd.observed import Observed, observe, until

OWNER = ("team-a", "credit", "blue")


@pytest.fixture
async def observed(settings: Settings, haproxy: HaproxyProcess) -> AsyncIterator[Observed]:
    async with observe(settings, haproxy, run_load) as running:
        yield running


def samples(observed: Observed) -> list[Sample]:
    return observed.board.history.samples.after(0, limit=1000)[0]


def counted(observed: Observed) -> Requests:
    return sum((sample.requests for sample in samples(observed)), Requests())


def load(observed: Observed) -> Any:
    return observed.board.meter.load(OWNER, now=time.time())


async def test_requests_at_replicas_and_waiting_ones_are_told_apart(
    observed: Observed, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await observed.serve(endpoint(deployment("blue", blue)))
    calls = [asyncio.create_task(observed.callers.call()) for _ in range(4)]
    sample = await until(lambda: next((s for s in samples(observed) if s.queued == 3), None))
    assert (sample.in_flight, sample.replicas_ready, sample.concurrency) == (1, 1, 1)
    blue.released.set()
    assert [answer.status for answer in await asyncio.gather(*calls)] == [200] * 4


async def test_load_follows_within_a_second_and_falls_back_to_none(observed: Observed, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await observed.serve(endpoint(deployment("blue", blue)))
    loop = asyncio.get_running_loop()
    await until(lambda: load(observed))
    calls = [asyncio.create_task(observed.callers.call()) for _ in range(3)]
    started = loop.time()
    await until(lambda: load(observed).busy >= 2.9)
    assert loop.time() - started < 1.5
    blue.released.set()
    await asyncio.gather(*calls)
    await until(lambda: load(observed).busy == 0)


async def test_every_answer_is_counted_once_in_its_class(observed: Observed, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await observed.serve(endpoint(deployment("blue", blue, max_queue=2)))
    await until(lambda: samples(observed))
    calls = [asyncio.create_task(observed.callers.call()) for _ in range(8)]
    await until(lambda: counted(observed).throttled == 5)
    blue.released.set()
    await asyncio.gather(*calls)
    blue.status = 500
    await observed.callers.call()
    blue.status = 422
    await observed.callers.call()
    expected = Requests(ok=3, refused=1, throttled=5, failed=1)
    await until(lambda: counted(observed).total == expected.total)
    assert counted(observed) == expected
    assert observed.board.meter.totals[OWNER] == expected


async def test_latency_is_that_of_answered_requests_and_none_without_any(
    observed: Observed, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", delay=0.12)
    await observed.serve(endpoint(deployment("blue", blue, max_queue=0)))
    first = await until(lambda: samples(observed))
    assert first[0].latency_ms is None
    for _ in range(3):
        answers = await asyncio.gather(*(observed.callers.call() for _ in range(3)))
        assert sorted(answer.status for answer in answers) == [200, 429, 429]
    sample = await until(lambda: next((s for s in samples(observed) if s.latency_ms), None))
    assert 100 < sample.latency_ms[0] <= sample.latency_ms[2] < 1000  # quick refusals do not flatter it


async def test_a_request_that_waits_for_the_first_replica_is_held(observed: Observed, start_model: StartModel) -> None:
    await observed.serve(endpoint(deployment("blue")))
    call = asyncio.create_task(observed.callers.call())
    await until(lambda: any(sample.held == 1 for sample in samples(observed)))
    blue = await start_model("blue-1")
    await observed.serve(endpoint(deployment("blue", blue)))
    assert (await call).status == 200


async def test_every_second_has_one_sample(observed: Observed, start_model: StartModel) -> None:
    await observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    await until(lambda: len(samples(observed)) >= 4)
    times = [sample.at for sample in samples(observed)]
    assert [round(later - earlier) for earlier, later in pairwise(times)] == [1] * (len(times) - 1)
    assert all(0.9 < sample.seconds < 1.2 for sample in samples(observed)[1:])


async def test_the_load_is_unknown_while_haproxy_does_not_answer(
    observed: Observed, start_model: StartModel, haproxy: HaproxyProcess
) -> None:
    await observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    clock = asyncio.get_running_loop()
    await until(lambda: load(observed))
    haproxy.send(signal.SIGTERM)
    started = clock.time()
    await until(lambda: load(observed) is None)
    assert clock.time() - started < 4


async def test_each_request_leaves_as_one_line_of_json(
    observed: Observed, start_model: StartModel, capsys: pytest.CaptureFixture[str]
) -> None:
    await observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    await observed.callers.call()
    await observed.callers.call(key="wrong")
    lines: list[str] = []

    def two_lines() -> bool:
        lines.extend(capsys.readouterr().out.splitlines())
        return len(lines) == 2

    await until(two_lines)
    answered, refused = (json.loads(line) for line in lines)
    assert (answered["status"], answered["endpoint"], answered["replica"], answered["key"]) == (
        200, "credit", "blue-1", "primary",
    )  # fmt: skip
    assert (refused["status"], refused["reason"]) == (401, "unauthorized")
    assert "replica" not in refused


async def test_the_mean_service_time_reaches_the_callers_that_are_refused(
    observed: Observed, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", delay=1.2)
    await observed.serve(endpoint(deployment("blue", blue, max_queue=0)))
    await observed.callers.call()
    async with asyncio.timeout(10):
        while True:
            answers = await asyncio.gather(observed.callers.call(), observed.callers.call())
            refused = next(answer for answer in answers if answer.status == 429)
            if refused.headers["retry-after"] == "2":
                break
