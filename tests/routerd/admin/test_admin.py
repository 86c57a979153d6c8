"""The admin API of a router that serves, over real sockets."""

import asyncio
import base64
import io
import json
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from routerd.admin.server import run_admin
from routerd.haproxy.process import HaproxyProcess
from routerd.load import run_load
from routerd.settings import Settings
from tests.routerd.conftest import StartModel, deployment, endpoint
from tests.routerd.observed import Observed, observe, until

TOKEN = "admin-token-of-the-test"


class Admin:
    """A client of the admin API."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        settings = observed.daemon.settings
        self._url = f"http://{settings.bind}:{settings.admin_port}"

    async def ask(
        self, path: str, *, token: str | None = TOKEN, method: str = "GET", **options: Any
    ) -> tuple[int, Any]:
        headers = {} if token is None else {"x-slipway-token": token}
        session = self.observed.callers.session
        async with session.request(method, self._url + path, headers=headers, **options) as answer:
            text = await answer.text()
            return answer.status, text if "text/plain" in answer.content_type else await answer.json(content_type=None)

    async def invoke(self, **document: Any) -> tuple[int, Any]:
        call = {"namespace": "team-a", "endpoint": "credit", "method": "POST", "path": "/score"} | document
        return await self.ask("/v1/invoke", method="POST", data=io.BytesIO(json.dumps(call).encode()))


@pytest.fixture
async def admin(settings: Settings, haproxy: HaproxyProcess) -> AsyncIterator[Admin]:
    settings = replace(settings, admin_token=TOKEN, pod_name="routerd-x", pod_uid="uid-x")
    async with observe(settings, haproxy, run_load, run_admin) as observed:
        client = Admin(observed)
        async with asyncio.timeout(10):
            while True:
                try:
                    await client.ask("/healthz")
                    break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.02)
        yield client


@pytest.mark.parametrize("path", ["/metrics", "/v1/samples", "/v1/decisions", "/v1/table", "/v1/invoke", "/nothing"])
async def test_everything_but_the_probes_asks_for_the_token(admin: Admin, path: str) -> None:
    for token in (None, "", "wrong", TOKEN + "x", "é"):
        assert (await admin.ask(path, token=token))[0] == 401


async def test_the_probes_answer_without_a_token_and_readiness_follows_the_router(admin: Admin) -> None:
    assert (await admin.ask("/healthz", token=None))[0] == 200
    assert (await admin.ask("/readyz", token=None))[0] == 503  # no table yet
    await admin.observed.serve()
    await until(admin.observed.daemon.ready)
    assert (await admin.ask("/readyz", token=None))[0] == 200
    admin.observed.daemon.stop_being_ready()
    assert (await admin.ask("/readyz", token=None))[0] == 503


async def test_without_a_token_set_nothing_is_open(settings: Settings, haproxy: HaproxyProcess) -> None:
    async with observe(settings, haproxy, run_admin) as observed:
        client = Admin(observed)
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert (await client.ask("/v1/table", token=""))[0] == 503
                    break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.02)


async def test_samples_are_read_once_each_by_following_next(admin: Admin, start_model: StartModel) -> None:
    await admin.observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    await until(lambda: len(admin.observed.board.history.samples) >= 2)
    status, first = await admin.ask("/v1/samples")
    assert (status, first["router"]) == (200, "routerd-x/uid-x")
    assert [sample["seq"] for sample in first["samples"]] == list(range(1, first["next"] + 1))
    await until(lambda: admin.observed.board.history.samples.last > first["next"])
    _, second = await admin.ask(f"/v1/samples?after={first['next']}")
    assert second["samples"][0]["seq"] == first["next"] + 1
    assert (second["samples"][0]["namespace"], second["samples"][0]["deployment"]) == ("team-a", "blue")


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "%D9%A1"])
async def test_a_cursor_that_is_no_number_is_refused(admin: Admin, after: str) -> None:
    assert (await admin.ask(f"/v1/samples?after={after}"))[0] == 400
    assert (await admin.ask(f"/v1/decisions?after={after}"))[0] == 400


async def test_the_table_tells_what_is_in_force(admin: Admin, start_model: StartModel) -> None:
    route = endpoint(deployment("blue", await start_model("blue-1")), deployment("green"), generation=7, key_revision=3)
    await admin.observed.serve(route)
    await until(lambda: len(admin.observed.board.history.samples) >= 2)
    _, table = await admin.ask("/v1/table")
    entry = table["endpoints"]["team-a/credit"]
    assert (entry["generation"], entry["keyRevision"]) == (7, 3)
    assert [(c["type"], c["status"], c["reason"]) for c in entry["conditions"]] == [("Ready", True, "Answering")]
    blue, green = entry["deployments"]["blue"], entry["deployments"]["green"]
    assert (blue["ready"], blue["in_flight"], blue["queued"]) == (1, 0, 0)
    assert (green["ready"], green["desired"]) == (0, None)
    assert blue["slot"] != green["slot"]


async def test_metrics_name_every_deployment_and_are_well_formed(admin: Admin, start_model: StartModel) -> None:
    await admin.observed.serve(endpoint(deployment("blue", await start_model("blue-1"))))
    await admin.observed.callers.call()
    await until(lambda: any(t.ok for t in admin.observed.board.meter.totals.values()))
    await admin.observed.callers.call(key="wrong")
    await until(lambda: admin.observed.board.meter.refusals)
    _, text = await admin.ask("/metrics")
    assert 'routerd_own_answers_total{reason="unauthorized"} 1\n' in text
    labels = 'namespace="team-a",endpoint="credit",deployment="blue"'
    assert f'routerd_requests_total{{{labels},class="2xx"}} 1\n' in text
    assert f"routerd_replicas_ready{{{labels}}} 1\n" in text
    assert 'routerd_endpoint_generation{namespace="team-a",endpoint="credit",state="in_force"} 1\n' in text
    line = re.compile(r'# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+')
    assert [each for each in text.splitlines() if not line.fullmatch(each)] == []


async def test_requests_too_large_to_be_mirrored_are_counted(admin: Admin, start_model: StartModel) -> None:
    blue, shadow = await start_model("blue-1"), await start_model("shadow-1")
    routes = (deployment("blue", blue), deployment("shadow", shadow, max_queue=500))
    await admin.observed.serve(endpoint(*routes, mirror=(("shadow", 50),)))

    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(4):
            yield b"x" * 25_000

    for number in range(60):
        answer = await admin.observed.callers.call(data=b"x" * 100_000 if number % 2 else pieces())
        assert answer.status == 200
    _, text = await admin.ask("/metrics")

    found = re.search(r'routerd_mirror_skipped_total\{.*deployment="shadow"\} (\d+)', text)
    assert found is not None
    assert 8 <= int(found[1]) <= 52  # 30 expected, deviation 3.9
    assert shadow.seen == []


async def test_invoking_needs_no_key_and_tells_who_answered(admin: Admin, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await admin.observed.serve(endpoint(deployment("blue", blue)))
    status, answer = await admin.invoke(path="/score?a=1", headers={"X-Mine": "1", "Host": "x"}, body='{"é": 1}')
    assert status == 200
    assert (answer["status"], answer["body"], answer["deployment"]) == (200, "blue-1", "blue")
    assert answer["milliseconds"] > 0
    assert answer["headers"]["x-replica"] == "blue-1"
    assert (blue.seen[0].path, blue.seen[0].body) == ("/score?a=1", '{"é": 1}'.encode())
    assert blue.seen[0].headers["x-mine"] == "1"


async def test_invoking_can_pin_a_deployment_without_traffic(admin: Admin, start_model: StartModel) -> None:
    route = endpoint(deployment("blue", await start_model("blue-1")), deployment("green", await start_model("green-1")))
    await admin.observed.serve(route)
    _, answer = await admin.invoke(deployment="green", body="{}")
    assert (answer["body"], answer["deployment"]) == ("green-1", "green")
    _, answer = await admin.invoke(deployment="red", body="{}")
    assert (answer["status"], answer["deployment"]) == (404, None)


async def test_invoking_carries_bytes_to_the_model(admin: Admin, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await admin.observed.serve(endpoint(deployment("blue", blue)))
    for data in (bytes(range(256)), b"x" * 900_000, b""):
        status, answer = await admin.invoke(body_base64=base64.b64encode(data).decode())
        assert (status, answer["status"]) == (200, 200)
        assert blue.seen[-1].body == data


@pytest.mark.parametrize(
    "change",
    [
        {"path": "score"},
        {"path": "/../other/score"},
        {"path": "/%2e%2E/other/score"},
        {"path": "/score HTTP/1.1\r\nx: y"},
        {"method": "CONNECT"},
        {"headers": {"x": "a\r\nb: c"}},
        {"headers": {"x y": "a"}},
        {"headers": ["x"]},
        {"body_base64": "%%%"},
        {"namespace": None},
    ],
)
async def test_a_call_that_could_mean_something_else_is_refused(admin: Admin, change: dict[str, Any]) -> None:
    await admin.observed.serve(endpoint(deployment("blue")))
    status, answer = await admin.invoke(**change)
    assert status == 400
    assert answer["detail"]


async def test_only_endpoints_of_the_named_namespace_are_invoked(admin: Admin, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await admin.observed.serve(endpoint(deployment("blue", blue)))
    assert (await admin.invoke(namespace="team-b"))[0] == 404
    assert (await admin.invoke(endpoint="other"))[0] == 404
    assert (await admin.ask("/v1/invoke", method="POST", data="[]"))[0] == 400
    assert (await admin.ask("/v1/invoke", method="POST", data="{"))[0] == 400
    assert blue.seen == []


async def test_a_body_over_ten_megabytes_is_not_sent(admin: Admin) -> None:
    await admin.observed.serve(endpoint(deployment("blue")))
    assert (await admin.invoke(body="x" * (10 * 1024 * 1024 + 1)))[0] == 413


async def test_invoking_while_haproxy_is_gone_says_so(admin: Admin, haproxy: HaproxyProcess) -> None:
    await admin.observed.serve(endpoint(deployment("blue")))
    haproxy.send(signal.SIGTERM)
    await asyncio.to_thread(haproxy.wait_ended, timeout_seconds=5)
    assert (await admin.invoke(body="{}"))[0] == 502
