"""Requests that belong together go to one deployment, where the endpoint asks for that."""

import math
from collections import Counter

import pytest

from routerd.routes import EndpointRoute, Sticky
from tests.routerd.conftest import ModelServer, Router, StartModel, deployment, endpoint

SESSIONS = 400
SOURCES = [Sticky("header", "x-session"), Sticky("cookie", "sid")]


def carrying(sticky: Sticky, session: str) -> dict[str, str]:
    return {"cookie": f"a=1; {sticky.name}={session}; b=2"} if sticky.source == "cookie" else {sticky.name: session}


def split(sticky: Sticky | None, *models: ModelServer, blue: int = 70, name: str = "credit") -> EndpointRoute:
    routes = [deployment(m.name.removesuffix("-1"), m, concurrency=20, max_queue=100) for m in models]
    traffic = (("blue", blue), ("green", 100 - blue))
    return endpoint(*routes, name=name, traffic=traffic, sticky=sticky, generation=blue)


@pytest.mark.parametrize("sticky", SOURCES)
async def test_one_session_stays_and_all_of_them_are_split_by_weight(
    router: Router, start_model: StartModel, sticky: Sticky
) -> None:
    models = [await start_model(name) for name in ("blue-1", "green-1")]
    await router.serve(split(sticky, *models))

    found = {
        n: {(await router.call(headers=carrying(sticky, f"s{n}"))).text for _ in range(3)} for n in range(SESSIONS)
    }

    assert {len(names) for names in found.values()} == {1}
    count = Counter(name for names in found.values() for name in names)
    assert abs(count["blue-1"] - 0.7 * SESSIONS) < 5 * math.sqrt(SESSIONS * 0.7 * 0.3)


async def test_a_new_weight_moves_only_as_many_sessions_as_it_must(router: Router, start_model: StartModel) -> None:
    sticky = SOURCES[0]
    models = [await start_model(name) for name in ("blue-1", "green-1")]

    async def where() -> list[str]:
        return [(await router.call(headers=carrying(sticky, f"s{n}"))).text for n in range(SESSIONS)]

    await router.serve(split(sticky, *models, blue=70))
    before = await where()
    await router.serve(split(sticky, *models, blue=60))
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/credit"].generation == 60)
    after = await where()

    assert {(a, b) for a, b in zip(before, after, strict=True) if a != b} == {("blue-1", "green-1")}
    moved = sum(a != b for a, b in zip(before, after, strict=True))
    assert moved < 0.1 * SESSIONS + 5 * math.sqrt(SESSIONS * 0.1 * 0.9)


async def test_a_request_that_carries_nothing_is_split_like_any_other_and_a_pin_wins(
    router: Router, start_model: StartModel
) -> None:
    sticky = SOURCES[0]
    models = [await start_model(name) for name in ("blue-1", "green-1")]
    await router.serve(split(sticky, *models, blue=50))

    for headers in ({}, {"x-session": ""}, {"cookie": "x-session=1"}):
        assert {(await router.call(headers=headers)).text for _ in range(60)} == {"blue-1", "green-1"}
    for pin in ("blue", "green"):
        headers = {"azureml-model-deployment": pin, "x-session": "s1"}
        assert {(await router.call(headers=headers)).text for _ in range(5)} == {f"{pin}-1"}


async def test_one_session_falls_differently_on_another_endpoint(router: Router, start_model: StartModel) -> None:
    models = [await start_model(name) for name in ("blue-1", "green-1")]
    await router.serve(*(split(SOURCES[0], *models, blue=50, name=name) for name in ("credit", "fraud")))

    async def of(name: str, session: int) -> str:
        return (await router.call(name=name, headers={"x-session": f"s{session}"})).text

    both = [{await of(name, number) for name in ("credit", "fraud")} for number in range(60)]

    assert {len(found) for found in both} == {1, 2}
