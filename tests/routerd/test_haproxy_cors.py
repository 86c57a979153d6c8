"""Calls from pages in a browser: which origins an endpoint allows."""

from routerd.routes import Cors
from tests.routerd.conftest import Router, StartModel, deployment, endpoint
from tests.routerd.test_haproxy_requests import assert_problem

PAGE = "https://app.example.com"
ASKS = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


async def test_a_browser_may_ask_without_a_key_and_is_told_what_it_may_send(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), cors=Cors((PAGE,), max_age_seconds=77)))

    answer = await router.call(method="OPTIONS", key=None, headers={"origin": PAGE, **ASKS}, data=None)

    assert (answer.status, answer.text) == (204, "")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert answer.headers["access-control-max-age"] == "77"
    assert answer.headers["vary"] == "Origin"
    assert blue.seen == []


async def test_a_page_of_an_allowed_origin_reads_answers_and_refusals(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), cors=Cors((PAGE, "https://other.example.com"))))

    good = await router.call(headers={"origin": PAGE})
    refused = await router.call(key="wrong", headers={"origin": PAGE})

    assert good.status == 200
    assert_problem(refused, code="unauthorized")
    for answer in (good, refused):
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "x-slipway-reason" in answer.headers["access-control-expose-headers"]


async def test_a_page_of_another_origin_is_told_nothing(router: Router, start_model: StartModel) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    fraud = endpoint(deployment("red", red), name="fraud", cors=Cors(("https://evil.example.com",)))
    await router.serve(endpoint(deployment("blue", blue), cors=Cors((PAGE,))), fraud)

    for origin in ("https://evil.example.com", "null", f"{PAGE}.evil.com", f"{PAGE}|fraud", "no", "*", "x" * 2000):
        asked = await router.call(method="OPTIONS", key=None, headers={"origin": origin, **ASKS}, data=None)
        called = await router.call(headers={"origin": origin})
        assert asked.status == 401
        assert called.status == 200
        for answer in (asked, called):
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_an_endpoint_may_allow_every_page(router: Router, start_model: StartModel) -> None:
    blue, red = await start_model("blue-1"), await start_model("red-1")
    fraud = endpoint(deployment("red", red), name="fraud")
    await router.serve(endpoint(deployment("blue", blue), cors=Cors(("*",))), fraud)

    assert (await router.call(headers={"origin": "null"})).headers["access-control-allow-origin"] == "null"
    assert "access-control-allow-origin" not in (await router.call()).headers
    elsewhere = await router.call(name="fraud", headers={"origin": "null"})
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_an_endpoint_without_cors_gives_options_to_its_model(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call(method="OPTIONS", headers={"origin": PAGE, **ASKS}, data=None)

    assert (answer.status, blue.seen[0].method) == (200, "OPTIONS")
