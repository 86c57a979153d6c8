"""Every answer the router gives itself, provoked: its status, its document, and that no model heard of it."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from routerd.haproxy.problems import ANSWERS
from routerd.settings import Settings
from tests.routerd.conftest import (
    KEY,
    Answer,
    ModelServer,
    Router,
    StartModel,
    deployment,
    endpoint,
)
from tests.routerd.test_haproxy_queue import waiting
from tests.routerd.tokens import Signer, trusting


@pytest.fixture
def settings(tmp_path: object, settings: Settings) -> Settings:
    """A router that does not wait long for a request."""
    return replace(settings, request_seconds=0.5)


@dataclass
class Scene:
    """A router and one model `blue-1`, which the ways to provoke an answer set up as they need."""

    router: Router
    blue: ModelServer

    async def serve(self, **changes: object) -> None:
        """`credit` with `blue`; changes of its deployment."""
        await self.router.serve(endpoint(deployment("blue", self.blue, **changes)))

    async def send(self, *lines: str, body: bytes = b"") -> Answer:
        """A request exactly as given, whose connection stays open; the answer."""
        settings = self.router.settings
        reader, writer = await asyncio.open_connection(settings.bind, settings.inference_port)
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head, _, text = (await asyncio.wait_for(reader.read(), 30)).decode().partition("\r\n\r\n")
        writer.close()
        first, *rest = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        return Answer(int(first.split()[1]), headers, text)


HEAD = ("POST /api/v1/endpoint/credit/score HTTP/1.1", "host: x", f"authorization: Bearer {KEY}")


async def bad_path(scene: Scene) -> Answer:
    await scene.serve()
    return await scene.send(HEAD[0].replace("score", "a%2fb"), *HEAD[1:], "content-length: 0", "connection: close")


async def unauthorized(scene: Scene) -> Answer:
    await scene.serve()
    return await scene.router.call(key="wrong")


async def key_expired(scene: Scene) -> Answer:
    ended = (("primary", int(time.time()) - 1),)
    await scene.router.serve(endpoint(deployment("blue", scene.blue), key_expiry=ended))
    return await scene.router.call()


async def call_with_token(scene: Scene, **claims: object) -> Answer:
    signer = Signer("k1")
    await scene.router.serve(
        endpoint(deployment("blue", scene.blue), auth_mode="token", keys=(), issuers=trusting(signer))
    )
    return await scene.router.call(key=signer.sign(**claims))


async def token_invalid(scene: Scene) -> Answer:
    return await call_with_token(scene, iss="somebody else")


async def token_expired(scene: Scene) -> Answer:
    return await call_with_token(scene, exp=int(time.time()) - 1)


async def token_not_yet(scene: Scene) -> Answer:
    return await call_with_token(scene, nbf=int(time.time()) + 600)


async def no_endpoint(scene: Scene) -> Answer:
    await scene.serve()
    return await scene.router.call(name="nowhere")


async def no_deployment(scene: Scene) -> Answer:
    await scene.serve()
    return await scene.router.call(headers={"azureml-model-deployment": "pink"})


async def no_traffic(scene: Scene) -> Answer:
    await scene.router.serve(endpoint(deployment("blue", scene.blue), traffic=()))
    return await scene.router.call()


async def request_timeout(scene: Scene) -> Answer:
    await scene.serve()
    return await scene.send(*HEAD, "content-length: 10", body=b"half")


async def payload_too_large(scene: Scene) -> Answer:
    await scene.serve()
    return await scene.router.call(data=b"x" * (scene.router.settings.max_body_bytes + 1))


async def while_busy(scene: Scene, **changes: object) -> Answer:
    """What a second caller gets while the only replica is busy with the first."""
    scene.blue.released = asyncio.Event()
    await scene.serve(**changes)
    first = asyncio.create_task(scene.router.call())
    await waiting(scene.router, "blue", count=0)
    second = await scene.router.call()
    scene.blue.released.set()
    assert (await first).status == 200
    scene.blue.seen.clear()
    return second


async def queue_full(scene: Scene) -> Answer:
    return await while_busy(scene, max_queue=0)


async def queue_timeout(scene: Scene) -> Answer:
    return await while_busy(scene, max_queue_wait_ms=100)


async def model_broke_off(scene: Scene) -> Answer:
    scene.blue.break_off = True
    await scene.serve()
    answer = await scene.router.call()
    assert len(scene.blue.seen) == 1  # what reached the model is not sent again
    scene.blue.seen.clear()
    return answer


async def no_replica(scene: Scene) -> Answer:
    await scene.router.serve(endpoint(deployment("blue", max_queue_wait_ms=100)))
    return await scene.router.call()


async def model_timeout(scene: Scene) -> Answer:
    scene.blue.delay = 5
    await scene.serve(request_timeout_ms=300)
    answer = await scene.router.call()
    scene.blue.seen.clear()
    return answer


WAYS: tuple[Callable[[Scene], Awaitable[Answer]], ...] = (
    *(bad_path, unauthorized, key_expired, token_invalid, token_expired, token_not_yet),
    *(no_endpoint, no_deployment, no_traffic, request_timeout, payload_too_large),
    *(queue_full, queue_timeout, model_broke_off, no_replica, model_timeout),
)
# Not provoked here: HAProxy answers what is no HTTP before it reads our texts (see below), and a replica that refuses
# connections is out of rotation before its last caller is told, who then hears no_replica or this. test_tls.py and
# test_peers.py provoke the last two.
OTHERS = {"bad_request", "replica_unreachable", "tls_required", "router_broke_off"}


def test_every_answer_has_a_way_to_provoke_it() -> None:
    assert {way.__name__ for way in WAYS} | OTHERS == set(ANSWERS)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_an_answer_of_the_router_is_a_problem_document_with_its_code_and_a_hint(
    router: Router, start_model: StartModel, way: Callable[[Scene], Awaitable[Answer]]
) -> None:
    scene = Scene(router, await start_model("blue-1"))

    answer = await way(scene)

    code = way.__name__
    expected = ANSWERS[code]
    assert (answer.status, answer.reason) == (expected.status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.text)
    assert document == {
        "type": f"urn:slipway:router:{code}",
        "title": expected.title,
        "status": expected.status,
        "code": code,
        "detail": expected.detail,
        "hint": expected.hint,
    }
    assert re.fullmatch(r"[0-9a-f]{12}-[0-9]+-[0-9]+", answer.headers["x-request-id"])
    assert ("www-authenticate" in answer.headers) == (expected.status == 401)
    assert ("retry-after" in answer.headers) == (expected.status == 429)
    assert "ms-azureml-model-error-statuscode" not in answer.headers
    assert scene.blue.seen == []


async def test_what_cannot_be_read_as_http_gets_haproxys_own_400_and_408(
    router: Router, start_model: StartModel
) -> None:
    scene = Scene(router, await start_model("blue-1"))
    await scene.serve()

    assert (await scene.send("this is no request")).status == 400
    assert (await scene.send(*HEAD, "x: " + "y" * 70_000)).status == 400
    assert (await scene.send(*HEAD, "transfer-encoding: chunked", body=b"zz\r\n")).status == 400
    late = await asyncio.wait_for(half_a_head(router), 30)
    assert late.startswith(b"HTTP/1.1 408")
    assert scene.blue.seen == []


async def half_a_head(router: Router) -> bytes:
    """What a caller gets who never finishes its headers."""
    reader, writer = await asyncio.open_connection(router.settings.bind, router.settings.inference_port)
    writer.write(b"POST /api/v1/endpoint/credit/score HTTP/1.1\r\nhost: x\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_caller_who_sends_slowly_occupies_no_replica(router: Router, start_model: StartModel) -> None:
    scene = Scene(router, await start_model("blue-1"))
    await scene.serve()
    slow = asyncio.create_task(scene.send(*HEAD, "content-length: 10", body=b"half"))

    quick = [(await router.call(data=b"%d" % n)).status for n in range(5)]

    assert quick == [200] * 5
    assert (await slow).status == 408
    assert [seen.body for seen in scene.blue.seen] == [b"%d" % n for n in range(5)]
