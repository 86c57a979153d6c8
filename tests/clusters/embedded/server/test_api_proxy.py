"""pods/proxy and services/proxy, to real servers on loopback."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.clusters.embedded.server.manifests import PODS, SERVICES, pod

MERGE = "application/merge-patch+json"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


async def echo(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    told = {
        "method": request.method,
        "path": request.raw_path,
        "headers": {k.lower(): v for k, v in request.headers.items()},
        "size": len(body),
        "digest": hashlib.sha256(body).hexdigest(),
    }
    return web.json_response(told, status=int(request.query.get("code", "200")), headers={"X-From": "pod"})


async def drip(request: web.Request) -> web.StreamResponse:
    """Answers a byte for each byte it is sent, at once."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for chunk in request.content.iter_any():
        await response.write(chunk.upper())
    return response


async def broken(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b"half")
    assert request.transport is not None
    request.transport.abort()
    return response


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server on 127.0.0.7, where the pod of these tests lives."""
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/drip", drip)
    app.router.add_route("*", "/broken", broken)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.7", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.fixture
async def running(cluster: Any, port: int) -> str:
    """The proxy path of a running pod."""
    obj = pod("a")
    obj["spec"]["containers"][0]["ports"] = [{"containerPort": port}]
    await cluster.post(PODS, obj)
    status = {"status": {"phase": "Running", "podIP": "127.0.0.7"}}
    await cluster.ask("PATCH", f"{PODS}/a/status", status, kind=MERGE)
    return f"{PODS}/a/proxy"


def admin(cluster: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.token}"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_method_path_query_and_headers_reach_the_pod_but_the_token_does_not(
    cluster: Any, running: str, method: str
) -> None:
    path = "/v1/a%2Fb/?x=1&y=%20z&x=2"
    headers = admin(cluster) | {"X-Slipway-Token": "t"}
    url = aiohttp.client.URL(cluster.url + running + path, encoded=True)
    async with cluster.session.request(method, url, headers=headers) as response:
        told = await response.json()
        assert response.headers["X-From"] == "pod"
    assert (told["method"], told["path"]) == (method, path)
    assert told["headers"]["x-slipway-token"] == "t"
    assert "authorization" not in told["headers"]


@pytest.mark.parametrize("code", [201, 204, 302, 404, 429, 500, 503])
async def test_the_pods_own_answers_pass_through(cluster: Any, running: str, code: int) -> None:
    url = f"{cluster.url}{running}/?code={code}"
    async with cluster.session.get(url, headers=admin(cluster), allow_redirects=False) as response:
        assert (response.status, response.headers["X-From"]) == (code, "pod")


async def test_a_head_request_has_headers_and_no_body(cluster: Any, running: str) -> None:
    async with cluster.session.head(f"{cluster.url}{running}/x", headers=admin(cluster)) as response:
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 0
        assert await response.read() == b""


async def test_a_large_body_arrives_whole_and_its_length_is_kept(cluster: Any, running: str) -> None:
    body = bytes(range(256)) * 40_000

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    headers = admin(cluster) | {"Content-Length": str(len(body))}
    url = f"{cluster.url}{running}/up"
    async with cluster.session.put(url, data=pieces(), headers=headers) as response:
        told = await response.json()
    assert told["digest"] == hashlib.sha256(body).hexdigest()
    assert told["headers"]["content-length"] == str(len(body))


async def test_bodies_stream_both_ways_at_once(cluster: Any, running: str) -> None:
    said: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def speaking() -> AsyncIterator[bytes]:
        while (word := await said.get()) is not None:
            yield word

    said.put_nowait(b"a")
    url = f"{cluster.url}{running}/drip"
    async with (
        asyncio.timeout(20),
        cluster.session.post(url, data=speaking(), headers=admin(cluster)) as response,
    ):
        for word in (b"b", b"c"):
            assert await response.content.readexactly(1) == {b"b": b"A", b"c": b"B"}[word]
            said.put_nowait(word)
        assert await response.content.readexactly(1) == b"C"
        said.put_nowait(None)
        assert await response.content.read() == b""


async def test_an_answer_that_breaks_off_is_not_passed_on_as_whole(cluster: Any, running: str) -> None:
    async with cluster.session.get(f"{cluster.url}{running}/broken", headers=admin(cluster)) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_service_is_reached_by_port_name_or_number_through_ready_endpoints(cluster: Any, port: int) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": port}, {"name": "other", "port": 81}]
    await cluster.post(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": ports}})
    endpoints = [
        {"addresses": ["127.0.0.7"], "conditions": {"ready": True}},
        {"addresses": ["127.0.0.8"], "conditions": {"ready": False}},
    ]
    piece = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{"name": "http", "port": port}],
    }
    await cluster.post(SLICES, piece)
    for name in ("web", "web:http", "web:80", "http:web:http"):
        found = await cluster.get(f"{SERVICES}/{name}/proxy/score?q=1")
        assert found["path"] == "/score?q=1"
    status, answer = await cluster.ask("GET", f"{SERVICES}/web:other/proxy/")
    assert (status, answer["message"]) == (503, 'no endpoints available for service "web:other"')
    status, answer = await cluster.ask("GET", f"{SERVICES}/web:9999/proxy/")
    assert status == 503


async def test_the_next_endpoint_is_tried_when_one_refuses(cluster: Any, port: int) -> None:
    spec = {"ports": [{"port": 80, "targetPort": port}]}
    await cluster.post(SERVICES, {"metadata": {"name": "web"}, "spec": spec})
    refusing = [{"addresses": [f"127.0.0.{last}"]} for last in range(20, 30)]
    piece = {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [*refusing, {"addresses": ["127.0.0.7"]}],
        "ports": [{"name": "", "port": port}],
    }
    await cluster.post(SLICES, piece)
    found = await cluster.ask("POST", f"{SERVICES}/web/proxy/score", {"data": [1]})
    assert found[0] == 200
    assert found[1]["digest"] == hashlib.sha256(json.dumps({"data": [1]}).encode()).hexdigest()


@pytest.mark.parametrize(("name", "code"), [("nobody", 404), ("waiting", 503), ("waiting:http", 503), ("a:b:c", 400)])
async def test_a_pod_that_cannot_be_reached_says_why(cluster: Any, name: str, code: int) -> None:
    await cluster.post(PODS, pod("waiting"))
    status, answer = await cluster.ask("GET", f"{PODS}/{name}/proxy/")
    assert (status, answer["kind"]) == (code, "Status")


async def test_a_pod_nobody_listens_in_is_a_503(cluster: Any, running: str) -> None:
    status, answer = await cluster.ask("GET", f"{PODS}/a:9/proxy/")
    assert (status, answer["reason"]) == (503, "ServiceUnavailable")
    assert "error trying to reach the pod" in answer["message"]
