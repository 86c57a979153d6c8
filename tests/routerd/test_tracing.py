"""Spans: from calls to a real HAProxy to a collector that reads OTLP."""

import asyncio
import logging
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import yaml
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from routerd import __version__
from routerd.admin.server import run_admin
from routerd.haproxy.config import LOG_FIELDS
from routerd.haproxy.process import HaproxyProcess
from routerd.load import run_load
from routerd.settings import Settings
from routerd.spans import Logged
from routerd.tracing import Tracing
from tests.ports import free_port
from tests.routerd.collector import Collector, Received, run_collector
from tests.routerd.conftest import (
    ModelServer,
    StartModel,
    deployment,
    endpoint,
    endpoint_slice,
    eventually,
    online_endpoint,
)
from tests.routerd.observed import Observed, observe, until

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{CALLER}-01", f"00-{TRACE}-{CALLER}-00"
SLACK_NS = 100_000_000  # HAProxy looks at its clock once a turn, and drops what is below a millisecond


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with run_collector(free_port()) as running:
        yield running


@pytest.fixture
async def traced(settings: Settings, haproxy: HaproxyProcess, collector: Collector) -> AsyncIterator[Observed]:
    """A router that tells the collector of each request."""
    used = replace(settings, otlp_endpoint=collector.url, pod_name="routerd-7")
    async with observe(used, haproxy, run_load) as running:
        yield running


async def spans_of(collector: Collector, *, count: int) -> list[Received]:
    """The spans of so many requests, once they are here."""
    return await until(lambda: found if len(found := collector.requests()) >= count else None, seconds=30)


async def test_the_span_of_a_call_stands_below_the_callers_and_tells_where_its_time_went(
    traced: Observed, collector: Collector, start_model: StartModel
) -> None:
    await traced.serve(endpoint(deployment("blue", await start_model("blue-1", delay=0.3))))
    before = time.time_ns()
    calls = [traced.callers.call(path="/score?secret=1", headers={"traceparent": SAMPLED}) for _ in range(2)]
    answers = await asyncio.gather(*calls)
    after = time.time_ns()

    first, second = await spans_of(collector, count=2)
    for found in (first, second):
        assert (found.span.trace_id.hex(), found.span.parent_span_id.hex()) == (TRACE, CALLER)
        assert (found.span.name, found.span.kind) == ("POST credit/blue", Span.SPAN_KIND_SERVER)
        assert before - SLACK_NS <= found.span.start_time_unix_nano < found.span.end_time_unix_nano
        assert found.span.end_time_unix_nano <= after + SLACK_NS
        assert found.span.status.code == Status.STATUS_CODE_UNSET
        (model,) = collector.children_of(found)
        assert (model.span.name, model.span.kind) == ("model", Span.SPAN_KIND_CLIENT)
        assert (model.span.trace_id, model.span.end_time_unix_nano) == (
            found.span.trace_id,
            found.span.end_time_unix_nano,
        )
        waited_ms = int(found.attributes["slipway.receive_ms"]) + int(found.attributes["slipway.queue_ms"])
        assert model.span.start_time_unix_nano - found.span.start_time_unix_nano == waited_ms * 1_000_000
        assert int(found.attributes["slipway.model_ms"]) >= 290
    waits = sorted(int(found.attributes["slipway.queue_ms"]) for found in (first, second))
    assert waits[0] < waits[1]  # one at a time: the other waited for it
    assert waits[1] >= 200
    assert first.attributes | {"http.response.status_code": 200, "slipway.replica": "blue-1"} == first.attributes
    assert first.attributes["url.path"] == "/api/v1/endpoint/credit/score"
    assert {found.attributes["slipway.request_id"] for found in (first, second)} == {
        answer.headers["x-request-id"] for answer in answers
    }
    assert not [one for one in collector.received if "secret" in str(one)]
    told = {"service.name": "slipway-routerd", "service.instance.id": "routerd-7", "service.version": __version__}
    assert first.sender | told == first.sender


async def test_a_refusal_and_a_broken_model_have_their_reason(
    traced: Observed, collector: Collector, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    red = await start_model("red-1", break_off=True)
    broken = endpoint(deployment("red", red), name="broken", auth_mode="none", keys=())
    await traced.serve(endpoint(deployment("blue", blue, max_queue=0)), broken)
    assert (await traced.callers.call(name="broken")).status == 502
    assert (await traced.callers.call(key="wrong")).status == 401
    running = asyncio.create_task(traced.callers.call(key="primary-key-of-alice"))
    await asyncio.wait_for(blue.arrived.wait(), 10)
    assert (await traced.callers.call()).status == 429
    blue.released.set()
    assert (await running).status == 200

    found = {one.attributes["http.response.status_code"]: one for one in await spans_of(collector, count=4)}
    reasons = {status: one.attributes.get("slipway.reason") for status, one in found.items()}
    assert reasons == {401: "unauthorized", 429: "queue_full", 200: None, 502: "model_broke_off"}
    failed = {status for status, one in found.items() if one.span.status.code == Status.STATUS_CODE_ERROR}
    assert failed == {502}
    assert {status: len(collector.children_of(one)) for status, one in found.items()} == {
        401: 0,
        429: 0,
        200: 1,
        502: 1,
    }
    assert not [one for one in collector.received if "primary-key" in str(one) or "wrong" in str(one)]


@pytest.mark.parametrize(
    "odd", [None, "nonsense", f"00-{'0' * 32}-{CALLER}-01", f"00-{TRACE}-{CALLER}", f"ff{SAMPLED[2:]}"]
)
async def test_without_a_whole_traceparent_a_trace_begins_here(
    traced: Observed, collector: Collector, start_model: StartModel, odd: str | None
) -> None:
    await traced.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    await traced.callers.call(headers={"traceparent": odd} if odd else {})

    (found,) = await spans_of(collector, count=1)
    assert found.span.parent_span_id == b""
    assert found.span.trace_id.hex() not in (TRACE, "0" * 32)


async def test_a_call_whose_caller_does_not_sample_it_leaves_no_span(
    traced: Observed, collector: Collector, start_model: StartModel
) -> None:
    await traced.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    await traced.callers.call(headers={"traceparent": NOT_SAMPLED}, path="/quiet")
    await traced.callers.call(headers={"traceparent": NOT_SAMPLED}, path="/quiet", key="wrong")
    await traced.callers.call(headers={"traceparent": SAMPLED}, path="/loud")

    await spans_of(collector, count=1)
    assert [found.attributes["url.path"] for found in collector.requests()] == ["/api/v1/endpoint/credit/loud"]
    assert (traced.board.tracing or pytest.fail("no tracing")).dropped == 0


async def test_the_time_a_connection_lay_idle_belongs_to_no_request(
    traced: Observed, collector: Collector, start_model: StartModel
) -> None:
    await traced.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    starts = []
    for _ in range(2):
        await asyncio.sleep(0.5)
        starts.append(time.time_ns())
        await traced.callers.call()  # the second on the connection of the first

    for start, found in zip(starts, await spans_of(collector, count=2), strict=True):
        assert abs(found.span.start_time_unix_nano - start) < 400_000_000


async def test_a_collector_that_is_away_costs_no_request_and_its_absence_is_said_once(
    settings: Settings,
    haproxy: HaproxyProcess,
    start_model: StartModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    caplog.set_level(logging.INFO)
    port = free_port()
    used = replace(settings, otlp_endpoint=f"http://127.0.0.1:{port}", admin_token="t")
    async with observe(used, haproxy, run_load, run_admin) as observed:
        await observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))

        async def dropped() -> int:
            url = f"http://{used.bind}:{used.admin_port}/metrics"
            async with observed.callers.session.get(url, headers={"x-slipway-token": "t"}) as answer:
                found = re.search(r"^routerd_spans_dropped_total (\d+)$", await answer.text(), re.MULTILINE)
            return int(found[1]) if found else -1

        async def drops(count: int) -> None:
            async def so() -> bool:
                return await dropped() == count

            await eventually(so, seconds=30)

        await drops(0)
        for count in (1, 2):
            assert (await observed.callers.call()).status == 200
            await drops(count)
        async with run_collector(port) as collector:
            assert (await observed.callers.call()).status == 200
            await spans_of(collector, count=1)
            await until(lambda: "reach" in caplog.text)
        assert await dropped() == 2

    lines = [record.getMessage() for record in caplog.records if "pans" in record.getMessage()]
    assert len(lines) == 2, lines
    assert lines[0].startswith(f"Dropping spans for http://127.0.0.1:{port}: ")
    assert "refused" in lines[0]
    assert lines[1].endswith("dropped until now: 2")


async def test_a_collector_that_never_answers_holds_up_neither_calls_nor_the_end(
    settings: Settings, haproxy: HaproxyProcess, start_model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "20")
    async with run_collector(free_port(), mute=True) as collector:
        async with observe(replace(settings, otlp_endpoint=collector.url), haproxy, run_load) as observed:
            await observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))
            await observed.callers.call()
            await until(lambda: collector.headers, seconds=30)  # it has the span, and says nothing
            assert [(await observed.callers.call()).status for _ in range(20)] == [200] * 20
            started = time.monotonic()
        assert time.monotonic() - started < 10


def test_what_the_queue_has_no_place_for_is_counted(settings: Settings) -> None:
    tracing = Tracing(replace(settings, otlp_endpoint="http://127.0.0.1:9"))
    for _ in range(10_000):
        tracing.offer(Logged(["-"] * len(LOG_FIELDS), owner=None, at=1.0))

    assert tracing.dropped == 10_000 - 8192


@asynccontextmanager
async def running(tmp_path: Path, model: ModelServer, *options: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A whole routerd that lists what it imports: the address of its endpoint, and (once it ended) its lines."""
    objects, port = tmp_path / "objects.yaml", free_port()
    objects.write_text(yaml.safe_dump_all([online_endpoint(), endpoint_slice(model)]))
    command = [sys.executable, "-m", "routerd", "--run-dir", str(tmp_path / "run"), "--config", str(objects)]
    command += ["--inference-port", str(port), "--admin-port", str(free_port()), "--admin-token", "t"]
    command += ["--slots", "500:4,60000:4", "--drain-seconds", "0", *options]
    lines: list[str] = []
    with (tmp_path / "stderr").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
        )
        try:
            yield f"http://127.0.0.1:{port}/api/v1/endpoint/credit/score", lines
        finally:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
    lines += (tmp_path / "stderr").read_text().splitlines()


async def call_until_answered(url: str) -> None:
    async def so() -> bool:
        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(url, data=b"{}", headers={"traceparent": SAMPLED}) as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

    await eventually(so, seconds=30)


def imported(lines: list[str], module: str) -> int:
    """How many processes imported this module."""
    return sum(re.fullmatch(rf"import time:.*\| +{re.escape(module)}", line) is not None for line in lines)


async def test_without_a_collector_nothing_of_opentelemetry_is_imported(
    tmp_path: Path, start_model: StartModel
) -> None:
    async with running(tmp_path, await start_model("blue-1")) as (url, lines):
        await call_until_answered(url)

    assert imported(lines, "routerd.tracing") == 1  # the list is there, and is the control process's
    assert [line for line in lines if re.search(r"opentelemetry|google\.protobuf|requests$", line)] == []


async def test_with_a_collector_the_control_process_alone_imports_it_and_delivers_before_it_ends(
    tmp_path: Path, start_model: StartModel, collector: Collector
) -> None:
    async with running(tmp_path, await start_model("blue-1"), "--otlp-endpoint", collector.url + "/") as (url, lines):
        await call_until_answered(url)
        await spans_of(collector, count=1)  # from here on it is imported
        known = len(collector.requests())
        await call_until_answered(url)

    assert imported(lines, "opentelemetry.sdk.trace") == 1
    assert imported(lines, "routerd.settings") == 2
    assert len(collector.requests()) > known
    assert {found.span.trace_id.hex() for found in collector.requests()} == {TRACE}
