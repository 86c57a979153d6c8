"""HTTP/2, events, uploads of unknown length and compressed bodies: what goes through as it is, and at once."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import aiohttp
import h2.connection
import h2.events
import httpx
import pytest

from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint
from tests.routerd.streams import EVENT, ZIPPED, StreamModel, stream_model

BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
async def model(router: Router) -> AsyncIterator[StreamModel]:
    """The one replica of `credit`."""
    async with stream_model() as model:
        await router.serve(
            endpoint(deployment("blue", concurrency=10, replicas=(model.replica,), request_timeout_ms=30_000))
        )
        yield model


@pytest.fixture
async def http2(router: Router) -> AsyncIterator[httpx.AsyncClient]:
    """A caller that speaks HTTP/2 from its first byte, without TLS."""
    base = f"http://{router.settings.bind}:{router.settings.inference_port}/api/v1/endpoint/credit"
    async with httpx.AsyncClient(http1=False, http2=True, base_url=base, headers=BEARER, trust_env=False) as client:
        yield client


def url(router: Router, path: str) -> str:
    return f"http://{router.settings.bind}:{router.settings.inference_port}/api/v1/endpoint/credit{path}"


async def test_http2_is_understood_with_many_requests_on_one_connection(
    router: Router, http2: httpx.AsyncClient, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue, concurrency=5, max_queue=100)))

    answers = await asyncio.gather(*(http2.post("/score", content=b"%d" % n) for n in range(50)))
    refused = await http2.post("/score", headers={"authorization": "Bearer wrong"})
    bad_path = await http2.post("/a%2fb")

    assert {(a.status_code, a.http_version, a.text) for a in answers} == {(200, "HTTP/2", "blue-1")}
    assert {seen.body for seen in blue.seen} == {b"%d" % n for n in range(50)}
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert (bad_path.status_code, bad_path.json()["code"]) == (400, "bad_path")


async def test_events_arrive_one_by_one_as_the_model_sends_them(
    router: Router, model: StreamModel, http2: httpx.AsyncClient
) -> None:
    async with router.session.get(url(router, "/events"), headers=BEARER) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for _ in range(5):
            model.send.put_nowait(True)
            assert await asyncio.wait_for(answer.content.readexactly(len(EVENT)), 10) == EVENT
        model.send.put_nowait(False)
        assert await answer.content.read() == b""

    async with http2.stream("GET", "/events") as answer:
        pieces = answer.aiter_bytes()
        for _ in range(5):
            model.send.put_nowait(True)
            assert await asyncio.wait_for(anext(pieces), 10) == EVENT
        model.send.put_nowait(False)
        assert [piece async for piece in pieces] == []


async def test_an_upload_of_unknown_length_reaches_the_model_while_it_is_sent(
    router: Router, model: StreamModel
) -> None:
    async def upload() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"piece %d" % number
            assert await asyncio.wait_for(model.pieces.get(), 10) == b"piece %d" % number

    async with router.session.post(url(router, "/collect"), headers=BEARER, data=upload()) as answer:
        assert (answer.status, await answer.text()) == (200, "all")
    assert not [name for name in model.seen[0].headers if name.lower().startswith("x-routerd")]
    assert "authorization" not in model.seen[0].headers


async def test_the_limit_of_a_body_holds_for_http2_with_and_without_a_length(
    router: Router, model: StreamModel, http2: httpx.AsyncClient
) -> None:
    limit = router.settings.max_body_bytes

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(0, limit, 50_000):
            yield b"x" * 50_000

    for content in (b"x" * limit, pieces()):
        assert (await http2.post("/zipped", content=content)).status_code == 200
    for length in (True, False):
        assert await upload_over_http2(router, "/zipped", size=limit + 2, tell_length=length) == 413

    assert [len(body) for body in model.bodies] == [limit, limit]


async def upload_over_http2(router: Router, path: str, *, size: int, tell_length: bool) -> int:
    """The status a caller gets that goes on sending until it has an answer (httpx gives up without reading it)."""
    reader, writer = await asyncio.open_connection(router.settings.bind, router.settings.inference_port)
    http2 = h2.connection.H2Connection()
    http2.initiate_connection()
    head = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": f"/api/v1/endpoint/credit{path}"}
    length = {"content-length": str(size)} if tell_length else {}
    http2.send_headers(1, list((head | BEARER | length).items()))
    status = 0
    async with asyncio.timeout(30):
        while not status:
            part = min(size, http2.local_flow_control_window(1), http2.max_outbound_frame_size)
            if part:
                size -= part
                http2.send_data(1, b"x" * part, end_stream=not size)
            writer.write(http2.data_to_send())
            if part:
                await asyncio.sleep(0)
                continue
            for event in http2.receive_data(await reader.read(65_536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
    writer.close()
    return status


async def test_a_compressed_body_is_left_alone_both_ways(router: Router, model: StreamModel) -> None:
    body = gzip.compress(b"x" * 10_000)
    headers = BEARER | {"content-encoding": "gzip", "accept-encoding": "br, gzip"}

    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.post(url(router, "/zipped"), headers=headers, data=body) as answer,
    ):
        assert answer.headers["content-encoding"] == "gzip"
        assert await answer.read() == ZIPPED

    assert model.bodies == [body]
    assert model.seen[0].headers["accept-encoding"] == "br, gzip"
    assert model.seen[0].headers["content-encoding"] == "gzip"


async def test_a_caller_who_closes_its_stream_ends_the_models(router: Router, model: StreamModel) -> None:
    async with router.session.get(url(router, "/events"), headers=BEARER) as answer:
        model.send.put_nowait(True)
        await answer.content.readexactly(len(EVENT))

    async with asyncio.timeout(15):
        while not model.gone:
            model.send.put_nowait(True)
            await asyncio.sleep(0.02)
