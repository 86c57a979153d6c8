"""Split, pin and mirror: which model a request goes to."""

import asyncio
import math

import pytest

from tests.routerd.conftest import Router, StartModel, deployment, endpoint, eventually


@pytest.mark.parametrize(
    "traffic",
    [
        (("blue", 90), ("green", 10)),  # the short way
        (("blue", 70), ("green", 25), ("red", 5)),
    ],
)
async def test_traffic_is_split_by_weight(
    router: Router, start_model: StartModel, traffic: tuple[tuple[str, int], ...]
) -> None:
    models = [await start_model(f"{name}-1") for name, _ in traffic]
    routes = [deployment(m.name.removesuffix("-1"), m, concurrency=20, max_queue=100) for m in models]
    await router.serve(endpoint(*routes, traffic=traffic))
    requests = 10_000

    async def caller() -> set[int]:
        return {(await router.call()).status for _ in range(requests // 20)}

    assert set().union(*await asyncio.gather(*(caller() for _ in range(20)))) == {200}

    for model, share in zip(models, [percent / 100 for _, percent in traffic], strict=True):
        deviation = math.sqrt(requests * share * (1 - share))
        assert abs(len(model.seen) - requests * share) < 5 * deviation, model.name


async def test_a_deployment_without_weight_gets_nothing_but_pinned_requests(
    router: Router, start_model: StartModel
) -> None:
    blue, green = await start_model("blue-1"), await start_model("green-1")
    await router.serve(endpoint(deployment("blue", blue), deployment("green", green)))

    plain = [(await router.call()).text for _ in range(50)]
    pinned = await router.call(headers={"azureml-model-deployment": "green"})

    assert plain == ["blue-1"] * 50
    assert (pinned.status, pinned.text) == (200, "green-1")
    assert len(green.seen) == 1


async def test_an_unknown_pin_is_a_404(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue)))

    answer = await router.call(headers={"azureml-model-deployment": "pink"})

    assert (answer.status, answer.reason) == (404, "no_deployment")
    assert blue.seen == []


async def test_an_endpoint_without_weights_is_a_404_that_says_so(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue), traffic=()))

    answer = await router.call()

    assert (answer.status, answer.reason) == (404, "no_traffic")
    assert (await router.call(headers={"azureml-model-deployment": "blue"})).status == 200


async def test_deployments_that_share_a_replica_all_serve(router: Router, start_model: StartModel) -> None:
    model = await start_model("all-1", delay=0)
    routes = [deployment(f"d{n:02d}", model, concurrency=50) for n in range(4)]
    await router.serve(endpoint(*routes, traffic=tuple((f"d{n:02d}", 25) for n in range(4))))

    answers = [await router.call() for _ in range(60)]

    assert {a.headers["azureml-model-deployment"] for a in answers} == {f"d{n:02d}" for n in range(4)}


async def test_mirrored_requests_reach_the_shadow_and_callers_see_only_the_live_model(
    router: Router, start_model: StartModel
) -> None:
    blue, shadow = await start_model("blue-1"), await start_model("shadow-1")
    routes = (deployment("blue", blue), deployment("shadow", shadow, max_queue=500))
    await router.serve(endpoint(*routes, mirror=(("shadow", 50),)))

    answers = [await router.call(path="/score?x=1", data=f"body {n}") for n in range(200)]

    assert {(a.status, a.text) for a in answers} == {(200, "blue-1")}
    assert len(blue.seen) == 200
    await eventually(lambda: not shadow.in_flight and len(shadow.seen) >= 60)
    assert 60 <= len(shadow.seen) <= 140  # 100 expected, deviation 7
    copy = shadow.seen[0]
    assert (copy.method, copy.path) == ("POST", "/score?x=1")
    assert copy.body in {f"body {n}".encode() for n in range(200)}
    assert "authorization" not in copy.headers
    assert not [name for name in copy.headers if name.startswith("x-routerd")]
    assert shadow.most_in_flight == 1


async def test_pinned_requests_are_not_mirrored(router: Router, start_model: StartModel) -> None:
    blue, shadow = await start_model("blue-1"), await start_model("shadow-1")
    routes = (deployment("blue", blue), deployment("shadow", shadow))
    await router.serve(endpoint(*routes, mirror=(("shadow", 50),)))

    for _ in range(30):
        assert (await router.call(headers={"azureml-model-deployment": "blue"})).text == "blue-1"

    assert shadow.seen == []


async def test_a_shadow_that_hangs_or_is_gone_never_slows_a_caller(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    hanging = await start_model("shadow-1", released=asyncio.Event())
    gone = await start_model("shadow-2")
    routes = (deployment("blue", blue), deployment("shadow", hanging, gone, max_queue=5))
    await router.serve(endpoint(*routes, mirror=(("shadow", 50),)))
    await gone.stop()

    async with asyncio.timeout(5):
        answers = [await router.call() for _ in range(200)]

    assert {(a.status, a.text) for a in answers} == {(200, "blue-1")}
