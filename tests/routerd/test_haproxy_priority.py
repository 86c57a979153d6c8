"""Who is served first, and who is not served any more."""

import asyncio

import pytest

from routerd.routes import ScaleSpec
from tests.routerd.conftest import Answer, ModelServer, Router, StartModel, deployment, endpoint, eventually
from tests.routerd.test_haproxy_queue import waiting


async def order_of(router: Router, blue: ModelServer, *priorities: str) -> list[str]:
    """Let one request be at the model and these queue; the order in which they are answered."""
    assert blue.released is not None
    calls = [asyncio.create_task(router.call(data=b"first"))]
    await waiting(router, "blue", count=0)
    for number, priority in enumerate(priorities):
        headers = {"x-slipway-priority": priority} if priority else {}
        calls.append(asyncio.create_task(router.call(data=f"{number}{priority}".encode(), headers=headers)))
        await waiting(router, "blue", count=number + 1)
    blue.released.set()
    assert {(await call).status for call in calls} == {200}
    return [seen.body.decode() for seen in blue.seen[1:]]


async def test_who_waits_is_served_by_class_and_within_it_in_order(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue=20, max_queue_wait_ms=60_000), priorities=True))

    found = await order_of(router, blue, "low", "", "high", "normal", "LOW", "High", "urgent")

    assert found == ["2high", "5High", "1", "3normal", "6urgent", "0low", "4LOW"]


async def test_an_endpoint_that_does_not_allow_it_serves_in_order_of_arrival(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue=20, max_queue_wait_ms=60_000)))

    assert await order_of(router, blue, "low", "", "high") == ["0low", "1", "2high"]


async def leave(call: "asyncio.Task[Answer]") -> None:
    """Hang up."""
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_caller_who_left_before_the_first_replica_came_is_not_served(
    router: Router, start_model: StartModel, chunked: bool
) -> None:
    blue = await start_model("blue-1")
    from_zero = ScaleSpec(mode="auto", min=0, max=1)
    await router.serve(endpoint(deployment("blue", scale=from_zero)))

    async def pieces(text: bytes) -> object:
        yield text

    calls = [asyncio.create_task(router.call(data=pieces(text) if chunked else text)) for text in (b"leaves", b"stays")]
    await eventually(lambda: held(router, 2))
    await leave(calls[0])
    await router.serve(endpoint(deployment("blue", blue, scale=from_zero)))

    assert (await calls[1]).status == 200
    await asyncio.sleep(0.3)  # time in which the other could still come
    assert [seen.body for seen in blue.seen] == [b"stays"]


async def held(router: Router, count: int) -> bool:
    return sum((await router.runtime.show_held()).values()) == count
