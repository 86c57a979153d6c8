"""How a request finds its endpoint and what path the model sees: by path, by host, and not at all."""

import time

import pytest

from routerd.contract import key_hash
from routerd.key_use import read_key_use
from routerd.wanted import usual_entry
from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint, eventually
from tests.routerd.test_haproxy_requests import as_record, raw_request

HOST = "credit.example.com"


async def call_host(router: Router, host: str, path: str = "/score") -> int:
    """The status of a request to `path` whose host header says so."""
    url = f"http://{router.settings.bind}:{router.settings.inference_port}{path}"
    headers = {"host": host, "authorization": f"Bearer {KEY}"}
    async with router.session.post(url, headers=headers, data=b"{}") as answer:
        return answer.status


async def test_a_host_leads_to_its_endpoint_and_the_path_stays_whole(router: Router, start_model: StartModel) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    credit = endpoint(deployment("blue", blue), hosts=(HOST,))
    await router.serve(credit, endpoint(deployment("red", red), name="fraud"))

    for path in ("/", "/score?a=1", "/v1/chat/completions", "/api/v1/other", "//x"):
        assert await call_host(router, HOST, path) == 200
    assert await call_host(router, "CREDIT.example.com:8080") == 200
    assert await call_host(router, HOST, "/api/v1/endpoint/credit/score") == 200
    assert await call_host(router, HOST, "/api/v1/endpoint/fraud/score") == 200

    assert [seen.path for seen in blue.seen] == [
        *("/", "/score?a=1", "/v1/chat/completions", "/api/v1/other", "//x"),
        *("/score", "/score"),
    ]
    assert [seen.path for seen in red.seen] == ["/score"]


@pytest.mark.parametrize("host", ["fraud.example.com", "example.com", f"x.{HOST}", f"{HOST}.evil.com", "", "credit"])
async def test_any_other_host_leads_nowhere(router: Router, start_model: StartModel, host: str) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), hosts=(HOST,)))

    answer = await raw_request(router, "POST /score HTTP/1.1", host=host)

    assert answer.startswith("HTTP/1.1 404")
    assert "no_endpoint" in answer
    assert blue.seen == []


async def test_a_host_is_withdrawn_and_handed_over_while_callers_come(router: Router, start_model: StartModel) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    credit, fraud = endpoint(deployment("blue", blue)), endpoint(deployment("red", red), name="fraud")
    await router.serve(endpoint(deployment("blue", blue), hosts=(HOST,)), fraud)
    assert await call_host(router, HOST) == 200

    await router.serve(credit, endpoint(deployment("red", red), name="fraud", hosts=(HOST,)))

    async def handed_over() -> bool:
        await call_host(router, HOST)
        return bool(red.seen)

    await eventually(handed_over)


@pytest.mark.parametrize(
    "path",
    [
        *("/score/%2e%2e/admin", "/%2E/score", "/a%2fb", "/a%5Cb", "/a/../../b", "/./score", "/..", "/..;/x", "/.;/x"),
        *("/a%00b", "/a%0d%0aset-cookie:x", "/%1b[0m", "/a%7F", "/a\\b", "/%2e."),
    ],
)
@pytest.mark.parametrize("prefix", ["/api/v1/endpoint/credit", "/api/v1/service/credit", ""])
async def test_paths_that_could_mean_something_else_are_refused(
    router: Router, start_model: StartModel, prefix: str, path: str
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), hosts=(HOST,)))

    answer = await raw_request(router, f"POST {prefix}{path} HTTP/1.1", host=HOST)

    assert answer.startswith("HTTP/1.1 400")
    assert "bad_path" in answer
    assert "application/problem+json" in answer
    assert blue.seen == []


@pytest.mark.parametrize("path", ["/a\tb", "/a\x00b", "/a\x1bb", "/a b", "/\x7f"])
async def test_raw_control_characters_are_no_http(router: Router, start_model: StartModel, path: str) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await raw_request(router, f"POST /api/v1/endpoint/credit{path} HTTP/1.1")

    assert answer.startswith("HTTP/1.1 400")
    assert blue.seen == []


async def test_an_address_with_scheme_and_host_is_read_like_any_other(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), hosts=(HOST,)))

    for address in (f"http://{HOST}/api/v1/endpoint/credit/score", f"http://{HOST}/v1/x?q=1"):
        assert (await raw_request(router, f"POST {address} HTTP/1.1", host=HOST)).startswith("HTTP/1.1 200")
    refused = await raw_request(router, "POST http://other.example.com/v1/x HTTP/1.1", host=HOST)

    assert [seen.path.removeprefix(f"http://{HOST}") for seen in blue.seen] == ["/score", "/v1/x?q=1"]
    assert refused.split()[1] in ("400", "404")


async def test_a_request_is_the_same_whichever_way_through_the_rules_it_takes(
    router: Router, start_model: StartModel
) -> None:
    """The first takes the short way; the others hold something it does not know."""
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), hosts=(HOST,)))
    start = "/api/v1/endpoint/credit"
    asked = {
        f"{start}/score": "/score",
        f"{start}/score?a=%2e%2e": "/score?a=%2e%2e",
        "/api/v1/service/credit/score": "/score",
        f"{start}/score/": "/score/",
        f"{start}//score": "//score",
        f"{start}/Score": "/Score",
        f"{start}/%73core": "/%73core",
        f"{start}/score:x": "/score:x",
        f"{start}": "/",
        "/score": "/score",
    }
    for path in asked:
        answer = await raw_request(router, f"POST {path} HTTP/1.1", host=HOST)
        assert answer.startswith("HTTP/1.1 200"), path
        assert "azureml-model-deployment: blue" in answer
        key_use = await read_key_use(router.runtime, now=time.time())
        assert [used[:2] for used in key_use] == [("credit", "primary")]

    records = [as_record(line) for line in await router.logged(len(asked))]
    assert [seen.path for seen in blue.seen] == list(asked.values())
    told = ("endpoint", "slot", "replica", "status", "key", "reason")
    assert len({tuple(record[name] for name in told) for record in records}) == 1
    assert (records[0]["endpoint"], records[0]["key"]) == ("credit", "primary")
    assert [record["path"] for record in records] == [path.partition("?")[0] for path in asked]


@pytest.mark.parametrize("digest", ["", "wrong"])
async def test_a_path_cannot_hold_what_it_is_looked_up_with(
    router: Router, start_model: StartModel, digest: str
) -> None:
    """The short way looks up PATH:DIGEST; a path that holds both already must not be taken for that."""
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))
    entry = usual_entry(key_hash(KEY), endpoint="credit")
    await router.call()  # the entry is there, and the key was seen
    answer = await raw_request(router, f"POST {entry}{digest} HTTP/1.1", key=None)
    assert answer.startswith("HTTP/1.1 401")
    assert len(blue.seen) == 1
