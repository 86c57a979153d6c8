"""Concurrency, queue and hold: what happens when more is asked than the replicas can do at once."""

import asyncio
import time
from collections.abc import AsyncIterator

from routerd.routes import ScaleSpec
from tests.routerd.conftest import Router, StartModel, deployment, endpoint, eventually


async def test_a_model_with_one_slot_never_has_two_requests_and_all_are_answered(
    router: Router, start_model: StartModel
) -> None:
    models = [await start_model(f"blue-{n}", delay=0.005) for n in range(4)]
    await router.serve(endpoint(deployment("blue", *models, max_queue=100, max_queue_wait_ms=60_000)))

    async def caller() -> list[int]:
        return [(await router.call()).status for _ in range(10)]

    statuses = [s for found in await asyncio.gather(*(caller() for _ in range(50))) for s in found]

    assert statuses == [200] * 500
    assert [m.most_in_flight for m in models] == [1, 1, 1, 1]
    assert sum(len(m.seen) for m in models) == 500


async def test_the_concurrency_of_a_replica_is_used_fully_and_not_exceeded(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1", delay=0.02)
    await router.serve(endpoint(deployment("blue", blue, concurrency=3, max_queue=50)))

    answers = await asyncio.gather(*(router.call() for _ in range(20)))

    assert {a.status for a in answers} == {200}
    assert blue.most_in_flight == 3


async def test_who_came_first_is_served_first(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue=30, max_queue_wait_ms=60_000)))
    assert blue.released is not None

    calls = []
    for number in range(20):
        calls.append(asyncio.create_task(router.call(data=str(number))))
        await waiting(router, "blue", count=number)
    blue.released.set()
    await asyncio.gather(*calls)

    assert [int(s.body) for s in blue.seen] == list(range(20))


async def waiting(router: Router, name: str, *, count: int) -> None:
    """Wait until one request is at the model of a deployment and `count` queue."""
    slot = router.reconciler.slots().find(("team-a", "credit", name))
    assert slot is not None

    async def settled() -> bool:
        backends, servers = await router.runtime.show_slots(slot)
        return backends[slot].queued == count and any(s.sessions for s in servers)

    await eventually(settled)


async def test_a_full_queue_is_a_429_that_says_when_to_come_back(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue=2)))
    assert blue.released is not None

    accepted = [asyncio.create_task(router.call()) for _ in range(3)]
    await waiting(router, "blue", count=2)
    refused = await router.call()
    blue.released.set()

    assert (refused.status, refused.reason) == (429, "queue_full")
    assert refused.headers["retry-after"] == "1"
    assert [(await a).status for a in accepted] == [200, 200, 200]


async def test_retry_after_follows_the_measured_service_time(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue=0)))
    slot = router.reconciler.slots().find(("team-a", "credit", "blue"))
    assert blue.released is not None
    assert slot is not None
    router.reconciler.report_service_time(slot=slot, seconds=2.3)

    async def told() -> bool:
        return (await router.runtime.show_map(router.settings.run_dir / "slots.map"))[slot].split("|")[3] == "3"

    await eventually(told)
    accepted = asyncio.create_task(router.call())
    await blue.arrived.wait()
    refused = await router.call()
    blue.released.set()

    assert (refused.status, refused.headers["retry-after"]) == (429, "3")
    assert (await accepted).status == 200


async def test_a_queue_of_none_serves_what_is_free_and_refuses_the_rest(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue, max_queue=0)))

    assert [(await router.call()).status for _ in range(30)] == [200] * 30


async def test_a_request_that_waited_too_long_is_a_429(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue_wait_ms=100)))
    assert blue.released is not None

    first = asyncio.create_task(router.call())
    await blue.arrived.wait()
    start = time.monotonic()
    late = await router.call()
    waited = time.monotonic() - start
    blue.released.set()

    assert (late.status, late.reason) == (429, "queue_timeout")
    assert late.headers["retry-after"] == "1"
    assert 0.09 < waited < 1
    assert (await first).status == 200


async def test_a_chunked_request_obeys_the_same_queue(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue=1)))
    assert blue.released is not None

    async def chunked() -> int:
        async def body() -> AsyncIterator[bytes]:
            yield b"x"

        return (await router.call(data=body())).status

    accepted = [asyncio.create_task(chunked()) for _ in range(2)]
    await waiting(router, "blue", count=1)
    refused = await chunked()
    blue.released.set()

    assert refused == 429
    assert [await a for a in accepted] == [200, 200]
    assert blue.most_in_flight == 1


async def test_a_caller_that_gives_up_leaves_the_queue(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", blue, max_queue_wait_ms=60_000)))
    assert blue.released is not None

    first = asyncio.create_task(router.call(data="first"))
    await blue.arrived.wait()
    impatient = asyncio.create_task(router.call(data="impatient"))
    await waiting(router, "blue", count=1)
    impatient.cancel()
    await waiting(router, "blue", count=0)
    blue.released.set()

    assert (await first).status == 200
    assert [s.body for s in blue.seen] == [b"first"]


SCALED_TO_ZERO = ScaleSpec(mode="auto", min=0, max=2)


async def test_requests_to_a_model_scaled_to_zero_are_held_and_served_in_order(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    empty = endpoint(deployment("blue", scale=SCALED_TO_ZERO, max_queue=20))
    await router.serve(empty)

    calls = []
    for number in range(10):
        calls.append(asyncio.create_task(router.call(data=str(number))))
        await held(router, count=number + 1)
        await asyncio.sleep(0.002)  # priorities are whole milliseconds
    await router.serve(endpoint(deployment("blue", blue, scale=SCALED_TO_ZERO, max_queue=20), generation=2))
    answers = await asyncio.gather(*calls)

    assert {a.status for a in answers} == {200}
    assert [int(s.body) for s in blue.seen] == list(range(10))
    assert await router.runtime.show_held() == {}


async def held(router: Router, *, count: int) -> None:
    """Wait until so many requests wait for a first replica."""

    async def so_many() -> bool:
        return sum((await router.runtime.show_held()).values()) == count

    await eventually(so_many)


async def test_no_more_requests_are_held_than_may_queue(router: Router, start_model: StartModel) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", scale=SCALED_TO_ZERO, max_queue=2)))

    accepted = [asyncio.create_task(router.call()) for _ in range(2)]
    await held(router, count=2)
    refused = await router.call()
    await router.serve(endpoint(deployment("blue", blue, scale=SCALED_TO_ZERO, max_queue=2)))

    assert (refused.status, refused.reason) == (429, "queue_full")
    assert refused.headers["retry-after"] == "1"
    assert [(await a).status for a in accepted] == [200, 200]


async def test_a_new_replica_takes_over_what_queues(router: Router, start_model: StartModel) -> None:
    busy = await start_model("blue-1", released=asyncio.Event())
    await router.serve(endpoint(deployment("blue", busy, max_queue=20)))
    assert busy.released is not None
    calls = [asyncio.create_task(router.call()) for _ in range(8)]
    await waiting(router, "blue", count=7)

    fresh = await start_model("blue-2")
    await router.serve(endpoint(deployment("blue", busy, fresh, max_queue=20)))
    done, _ = await asyncio.wait(calls, timeout=2, return_when=asyncio.ALL_COMPLETED)

    assert len(done) == 7
    assert len(fresh.seen) == 7
    busy.released.set()
    assert {(await c).status for c in calls} == {200}
