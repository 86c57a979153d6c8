"""What a caller sees of one request, against a real HAProxy and real model servers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest

from routerd.contract import key_hash
from routerd.haproxy.config import LOG_FIELDS
from routerd.haproxy.problems import ANSWERS
from routerd.load import describe_record
from routerd.meter import split_record
from routerd.routes import Replica
from tests.routerd.conftest import KEY, Answer, Router, StartModel, deployment, endpoint


def assert_problem(answer: Answer, *, code: str) -> None:
    """The router's own answer of this reason, in header and body."""
    assert (answer.status, answer.reason) == (ANSWERS[code].status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    body = json.loads(answer.text)
    assert body["code"] == code
    assert body["status"] == answer.status
    assert body["detail"]
    assert body["hint"]


def as_record(line: bytes) -> dict[str, str]:
    """A line of HAProxy's log by the names of its fields."""
    return dict(zip((name for name, _ in LOG_FIELDS), split_record(line) or (), strict=True))


async def test_a_request_with_the_key_reaches_the_model(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call(path="/score?a=1", data=b'{"x": 1}')

    assert (answer.status, answer.text) == (200, "blue-1")
    assert blue.seen[0].path == "/score?a=1"
    assert blue.seen[0].body == b'{"x": 1}'
    assert answer.headers["azureml-model-deployment"] == "blue"


@pytest.mark.parametrize("key", [None, "", "wrong", KEY.upper(), key_hash(KEY)])
async def test_a_wrong_key_is_refused_and_never_reaches_the_model(
    router: Router, start_model: StartModel, key: str | None
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call(key=key)

    assert_problem(answer, code="unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert blue.seen == []


async def test_the_key_itself_never_reaches_the_model(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    assert (await router.call()).status == 200

    assert KEY not in str(blue.seen)
    assert "authorization" not in blue.seen[0].headers


async def test_an_open_endpoint_asks_for_no_key_and_passes_authorization_on(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), auth_mode="none", keys=()))

    assert (await router.call(key=None)).status == 200
    assert (await router.call(key="for the model")).status == 200

    assert blue.seen[1].headers["authorization"] == "Bearer for the model"


async def test_a_key_of_another_endpoint_is_refused(router: Router, start_model: StartModel) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    other = endpoint(deployment("red", red), name="fraud", keys=(("primary", key_hash("red-key")),))
    await router.serve(endpoint(deployment("blue", blue)), other)

    assert_problem(await router.call(key="red-key"), code="unauthorized")
    assert (await router.call(name="fraud", key="red-key")).text == "red-1"
    assert blue.seen == []


async def test_an_unknown_endpoint_is_not_found(router: Router) -> None:
    await router.serve()

    assert_problem(await router.call(name="nowhere"), code="no_endpoint")


async def test_the_older_path_of_version_one_works_too(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call(path="/../../service/credit/score")  # aiohttp resolves it to /api/v1/service/...

    assert (answer.status, blue.seen[0].path) == (200, "/score")


async def raw_request(router: Router, first_line: str, *lines: str, host: str = "x", key: str | None = KEY) -> str:
    """Send a head exactly as given, with the right key and no body; the whole answer."""
    reader, writer = await asyncio.open_connection(router.settings.bind, router.settings.inference_port)
    head = [first_line, f"host: {host}", "content-length: 0", "connection: close"]
    head += [f"authorization: Bearer {key}"] if key is not None else []
    writer.write("\r\n".join([*head, *lines, "", ""]).encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


async def test_a_path_without_anything_after_the_name_is_the_root(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    for path in ("", "/", "/swagger.json", "/v2/models/m/infer"):
        assert (await router.call(path=path, method="GET", data=None)).status == 200

    assert [s.path for s in blue.seen] == ["/", "/", "/swagger.json", "/v2/models/m/infer"]


async def test_request_ids_are_the_routers_own_and_the_clients_is_echoed_cleaned(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call(headers={"x-request-id": "mine", "x-ms-client-request-id": "a b;c_1-" + "x" * 60})

    assert answer.headers["x-request-id"] == blue.seen[0].headers["x-request-id"] != "mine"
    assert answer.headers["x-ms-client-request-id"] == "abc_1-" + "x" * 34


async def test_headers_that_speak_for_the_router_are_taken_from_neither_side(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    await router.call(headers={"x-slipway-hop-slot": "q500-0001", "x-slipway-hop-anything": "x"})

    assert not [name for name in blue.seen[0].headers if name.startswith("x-routerd")]


async def test_the_models_own_error_passes_through_and_is_marked(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", status=429)
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call()

    assert (answer.status, answer.text, answer.reason) == (429, "blue-1", None)
    assert answer.headers["ms-azureml-model-error-statuscode"] == "429"


async def test_a_body_over_the_limit_is_refused_whether_its_length_is_told_or_not(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    body = b"x" * (router.settings.max_body_bytes + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    assert_problem(await router.call(data=body), code="payload_too_large")
    assert_problem(await router.call(data=pieces()), code="payload_too_large")
    assert [s for s in blue.seen if len(s.body) > router.settings.max_body_bytes] == []


async def test_a_body_of_unknown_length_within_the_limit_arrives_whole(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(100):
            yield b"%04d" % number * 1000

    answer = await router.call(data=pieces())

    assert (answer.status, answer.text) == (200, "blue-1")
    assert blue.seen[0].body == b"".join(b"%04d" % n * 1000 for n in range(100))
    assert not [name for name in blue.seen[0].headers if name.startswith("x-routerd")]
    assert answer.headers["x-request-id"] == blue.seen[0].headers["x-request-id"]


async def test_a_model_that_takes_too_long_is_a_504(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", delay=5)
    await router.serve(endpoint(deployment("blue", blue, request_timeout_ms=300)))

    assert_problem(await router.call(), code="model_timeout")


async def test_a_model_that_breaks_off_is_a_502_and_is_not_asked_twice(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", break_off=True)
    await router.serve(endpoint(deployment("blue", blue)))

    assert_problem(await router.call(), code="model_broke_off")
    assert len(blue.seen) == 1


async def test_no_replica_is_a_503_after_the_time_a_request_may_wait(router: Router) -> None:
    await router.serve(endpoint(deployment("blue", max_queue_wait_ms=100)))

    assert_problem(await router.call(), code="no_replica")


async def test_a_replica_that_refuses_connections_costs_no_request_while_another_answers(
    router: Router, start_model: StartModel
) -> None:
    alive, dead = await start_model("blue-1"), await start_model("blue-2")
    await router.serve(endpoint(deployment("blue", alive, dead)))
    await dead.stop()

    answers = await asyncio.gather(*(router.call() for _ in range(8)))

    assert [(a.status, a.text) for a in answers] == [(200, "blue-1")] * 8


async def test_only_replicas_that_refuse_connections_are_a_503_and_never_a_429(
    router: Router, start_model: StartModel
) -> None:
    dead = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", dead)))
    await dead.stop()

    answer = await router.call()

    assert answer.status == 503
    assert answer.reason in ("replica_unreachable", "no_replica")


async def test_what_is_no_http_is_refused(router: Router) -> None:
    await router.serve()
    reader, writer = await asyncio.open_connection(router.settings.bind, router.settings.inference_port)
    writer.write(b"this is no request\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()

    assert answer.startswith("HTTP/1.1 400")


async def test_the_internal_socket_skips_the_key_and_nothing_else(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    connector = aiohttp.UnixConnector(path=str(router.settings.invoke_socket))

    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.post("http://router/api/v1/endpoint/credit/score", data=b"{}") as answer:
            assert (answer.status, await answer.text()) == (200, "blue-1")
        async with session.post("http://router/api/v1/endpoint/nowhere/score", data=b"{}") as answer:
            assert answer.status == 404


async def test_the_data_plane_answers_for_itself(router: Router) -> None:
    url = f"http://{router.settings.bind}:{router.settings.inference_port}/-/healthz"
    async with router.session.get(url) as answer:
        assert (answer.status, await answer.text()) == (200, "ok")


async def test_every_request_leaves_a_record_in_the_log(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    answer = await router.call()
    await router.call(key="wrong")
    records = [as_record(line) for line in await router.logged(2)]

    slot = router.reconciler.slots().find(("team-a", "credit", "blue"))
    good, refused = records
    assert good["request_id"] == answer.headers["x-request-id"]
    assert (good["endpoint"], good["slot"], good["replica"], good["status"]) == ("credit", slot, "blue-1", "200")
    assert good["key"] == "primary"
    assert (refused["status"], refused["reason"]) == ("401", "unauthorized")


@pytest.mark.parametrize("chunked", [False, True])
async def test_what_a_caller_names_its_request_and_its_trace_reach_the_model_and_the_log(
    router: Router, start_model: StartModel, chunked: bool
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    names = {"traceparent": trace, "tracestate": "a=b", "x-ms-client-request-id": "job-7"}

    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    answer = await router.call(path="/score?secret=1", headers=names, data=pieces() if chunked else b"{}")
    (line,) = await router.logged(1)
    record = json.loads(describe_record(split_record(line) or (), at=1.0, owner=("team-a", "credit", "blue")))

    assert {name: blue.seen[0].headers[name] for name in names} == names
    assert answer.headers["x-ms-client-request-id"] == "job-7"
    assert record["traceparent"] == trace
    assert record["client_request_id"] == "job-7"
    assert record["request_id"] == answer.headers["x-request-id"]
    assert (record["namespace"], record["endpoint"], record["deployment"]) == ("team-a", "credit", "blue")
    assert record["path"].endswith("/score")
    assert b"secret" not in line
    assert {"queue_ms", "connect_ms", "response_ms", "total_ms"} <= record.keys()


async def test_names_of_a_request_cannot_break_its_record(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    odd = {"traceparent": "00-\tzz" + "a" * 5000, "x-ms-client-request-id": "a\tb" * 500}
    await router.call(path="/" + "x" * 3000, headers=odd)
    (line,) = await router.logged(1)

    assert len(line) < 2048
    record = as_record(line)
    assert (record["status"], len(record["traceparent"]), len(record["client_request_id"])) == ("200", 55, 40)


async def test_an_ipv6_replica_is_reached(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    blue_on_6 = replace(blue, address="::1", port=0, _server=None)
    try:
        await blue_on_6.start()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    route = deployment("blue", replicas=(Replica(name="blue-6", address="::1", port=blue_on_6.port),))
    await router.serve(endpoint(route))

    assert (await router.call()).status == 200
    await blue_on_6.stop()
