"""The attacker holds the key of `credit` and would like to reach `fraud`, or to speak in the router's name."""

import pytest

from tests.routerd.conftest import KEY
from tests.routerd.hostile.conftest import AUTH, Stage, statuses

_PATHS = (
    "/api/v1/endpoint/credit/../fraud/score",
    "/api/v1/endpoint/credit/..%2ffraud/score",
    "/api/v1/endpoint/credit/%2e%2e/fraud/score",
    "/api/v1/endpoint/credit/%2E%2E%2Ffraud/score",
    "/api/v1/endpoint/credit/.%2e/fraud",
    "/api/v1/endpoint/credit/..\\fraud/score",
    "/api/v1/endpoint/credit%2f..%2ffraud/score",
    "/api/v1/endpoint/credit/..",
    "/api/v1/endpoint/credit/.",
    "/api/v1/endpoint/credit/%00",
    "/api/v1/endpoint/credit/a%0d%0ax-slipway-hop-slot:%20x",
    "/api/v1/endpoint/credit/%1f",
    "/api/v1/endpoint/credit/%7F",
)
_UNKNOWN = (
    "/api/v1/endpoint//fraud/score",
    "//api/v1/endpoint/fraud/score",
    "/api/v1//endpoint/fraud/score",
    "/api/v1/endpoint/credit,fraud/score",
    "/api/v1/endpoint/credit;fraud/score",
    "/api/v1/endpoint/fr%61ud/score",
    "/api/v1/endpoint/FRAUD/score",
    "/API/V1/endpoint/fraud/score",
    "/api/v1/endpoint/fraud:red/score",
    "/api/v1/endpoint/team-a/fraud/score",
    "/api/v1/endpoint/*/score",
    "/api/v1/endpoint/",
    "/api/v1/endpoint",
    "/fraud/score",
    "*",
    "/" + "a" * 60_000,
    "/api/v1/endpoint/" + "a" * 60_000 + "/score",
)
_PINS = ("red", "fraud:red", "blue:red", ":red", "../fraud:red", "blue,red", "", "blue fraud:red", "BLUE", "%62lue")


def _request(path: str, *lines: str, method: str = "POST") -> bytes:
    text = "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", *lines, "content-length: 0", "connection: close"])
    return text.encode("latin-1") + b"\r\n" + AUTH + b"\r\n\r\n"


async def _answers(stage: Stage, requests: dict[str, bytes]) -> dict[str, list[int]]:
    return dict(zip(requests, map(statuses, await stage.send_all(requests.values())), strict=True))


async def test_paths_that_lead_elsewhere_are_refused(stage: Stage) -> None:
    answers = await _answers(stage, {path: _request(path) for path in _PATHS})

    assert {path: found for path, found in answers.items() if found != [400]} == {}
    assert stage.ours.requests == []
    await stage.assert_unharmed()


async def test_names_that_only_look_like_an_endpoint_are_unknown(stage: Stage) -> None:
    answers = await _answers(stage, {path: _request(path) for path in _UNKNOWN})

    assert {path[:80]: found for path, found in answers.items() if found not in ([404], [400])} == {}
    assert stage.ours.requests == []
    await stage.assert_unharmed()


async def test_a_key_opens_its_own_endpoint_only_however_the_other_is_named(stage: Stage) -> None:
    target = "/api/v1/endpoint/fraud/score"
    requests = {
        "plainly": _request(target),
        "by the older path": _request("/api/v1/service/fraud/score"),
        "with the bare name": _request("/api/v1/endpoint/fraud"),
        "as an absolute address": _request(f"http://x{target}"),
        "as another host's address": _request(f"http://credit{target}", "host: credit"),
        "with a query": _request(f"{target}?endpoint=credit"),
        "by CONNECT": _request("fraud:443", method="CONNECT"),
        "by an unknown method": _request(target, method="BREW"),
        "by TRACE": _request(target, method="TRACE"),
        "by OPTIONS": _request(target, method="OPTIONS"),
        "by HEAD": _request(target, method="HEAD"),
    }

    answers = await _answers(stage, requests)

    assert {how: found for how, found in answers.items() if not found or found[0] < 400} == {}
    await stage.assert_unharmed()


async def test_headers_that_other_proxies_obey_move_nothing(stage: Stage) -> None:
    target, names = (
        "/api/v1/endpoint/fraud/score",
        ("x-original-url", "x-rewrite-url", "x-forwarded-path", "x-http-path"),
    )
    lines = [f"{name}: {target}" for name in names]
    lines += ["x-forwarded-host: fraud", "x-http-method-override: GET", "forwarded: host=fraud;for=10.0.0.1"]

    answers = await _answers(stage, {line: _request("/api/v1/endpoint/credit/score", line) for line in lines})

    assert set(map(tuple, answers.values())) == {(200,)}
    assert {(r.path, r.head.split(b" ")[0]) for r in stage.ours.requests} == {("/score", b"POST")}
    await stage.assert_unharmed()


async def test_a_wrong_host_changes_nothing(stage: Stage) -> None:
    path = "/api/v1/endpoint/credit/score"
    hosts = ("fraud", "fraud.team-a.svc", "../fraud", "fraud:8080", "a" * 5000, "127.0.0.1:9902", "x\t", "[::1]")

    answers = await _answers(stage, {h: _request(path).replace(b"host: x", f"host: {h}".encode()) for h in hosts})
    without = await stage.send(_request(path).replace(b"host: x\r\n", b""))

    assert {h: found for h, found in answers.items() if found not in ([200], [400])} == {}
    assert statuses(without) in ([200], [400])
    await stage.assert_unharmed()


async def test_pins_name_deployments_of_the_endpoint_itself_only(stage: Stage) -> None:
    path = "/api/v1/endpoint/credit/score"
    requests = {pin: _request(path, f"azureml-model-deployment: {pin}") for pin in _PINS}
    requests["twice"] = _request(path, "azureml-model-deployment: blue", "azureml-model-deployment: red")

    answers = await _answers(stage, requests)

    assert {pin: found for pin, found in answers.items() if found != [404]} == {}
    assert stage.ours.requests == []
    await stage.assert_unharmed()


@pytest.mark.parametrize("body", ["sized", "chunked", "none"])
async def test_forged_internal_headers_steer_nothing_and_reach_no_model(stage: Stage, body: str) -> None:
    slot = stage.slot("fraud", "red")
    forged = [f"x-slipway-hop-slot: {slot}", "x-slipway-hop-endpoint: fraud", "x-slipway-hop-key: primary"]
    forged += ["X-SLIPWAY-HOP-SLOT: LOBBY", "x-slipway-hop-client: 10.0.0.1", "x-slipway-hop-: x", "x-slipway-token: t"]
    forged += [
        "x-slipway-reason: queue_full",
        "x-slipway-cold-start: 1",
        "X-Slipway-Forwarded: 1",
        "x-request-id: mine",
    ]
    ends = {
        "sized": (["content-length: 5"], b"hello"),
        "chunked": (["transfer-encoding: chunked"], b"5\r\nhello\r\n0\r\n\r\n"),
        "none": ([], b""),
    }
    lines, data = ends[body]
    method = "GET" if body == "none" else "POST"
    # Hop-by-hop headers named by the caller must not take away what the router tells its own second hop.
    lines = [*lines, "connection: close, x-slipway-hop-slot, x-request-id, authorization"]
    head = [f"{method} /api/v1/endpoint/credit/score HTTP/1.1", "host: x", *forged, *lines, AUTH.decode(), "", ""]

    answer = await stage.send("\r\n".join(head).encode() + data)

    assert statuses(answer) == [200], answer
    assert [r.body for r in stage.ours.requests] == [data and b"hello"]
    assert b"mine" not in stage.ours.everything
    await stage.assert_unharmed()


async def test_what_a_model_says_in_the_routers_name_reaches_no_caller(stage: Stage) -> None:
    stage.ours.extra = (
        b"x-slipway-reason: queue_full\r\nx-slipway-cold-start: 7\r\nx-slipway-hop-slot: x\r\nx-request-id: mine\r\n"
    )

    answer = await stage.send(_request("/api/v1/endpoint/credit/score"))

    assert statuses(answer) == [200]
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"x-slipway" not in head
    assert b"x-routerd" not in head
    assert b"mine" not in head
    stage.ours.extra = b""
    await stage.assert_unharmed()


async def test_a_proxy_header_from_outside_is_no_request(stage: Stage) -> None:
    request = _request("/api/v1/endpoint/credit/score")
    version_two = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x50"

    for prefix in (b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n", version_two):
        assert statuses(await stage.send(prefix + request)) == [400]

    assert KEY.encode() not in stage.ours.everything
    assert stage.ours.requests == []
    await stage.assert_unharmed()
