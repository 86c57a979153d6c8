"""The last replica dies: who was waiting goes on waiting, and is served by the next one."""

import asyncio

from tests.routerd.conftest import Router, StartModel, deployment, endpoint, eventually
from tests.routerd.test_haproxy_queue import SCALED_TO_ZERO, held, waiting


async def test_what_queues_when_the_last_replica_dies_is_served_by_the_next_one(
    router: Router, start_model: StartModel
) -> None:
    dying, next_one = await start_model("blue-1", released=asyncio.Event()), await start_model("blue-2")
    route = {"max_queue": 20, "max_queue_wait_ms": 60_000, "request_timeout_ms": 60_000}
    await router.serve(endpoint(deployment("blue", dying, **route)))
    calls = [asyncio.create_task(router.call(data=str(n))) for n in range(8)]
    await waiting(router, "blue", count=7)
    await dying.arrived.wait()  # HAProxy counts it as served a moment before the model has it

    await dying.stop()
    await held(router, count=1)  # the one that was offered to the dead replica; the others stay in the queue
    await router.serve(endpoint(deployment("blue", next_one, **route), generation=2))
    answers = await asyncio.gather(*calls)

    assert sorted(a.status for a in answers) == [200] * 7 + [502]  # the one it was answering is lost, and no other
    assert len(next_one.seen) == 7
    assert next_one.most_in_flight == 1


async def test_a_request_that_finds_the_only_replica_dead_is_served_when_it_is_back(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue, max_queue_wait_ms=60_000, request_timeout_ms=60_000)))
    await blue.stop()

    call = asyncio.create_task(router.call())
    await held(router, count=1)
    await blue.start()  # the same address and port, as a restarted container: HAProxy knocks by itself
    answer = await call

    assert (answer.status, answer.text) == (200, "blue-1")
    assert int(answer.headers["x-slipway-cold-start"]) > 0
    assert answer.headers["azureml-model-deployment"] == "blue"


async def test_a_request_that_no_replica_comes_for_is_a_503_when_its_wait_is_over(
    router: Router, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue, max_queue_wait_ms=500)))
    await blue.stop()

    answer = await router.call()

    assert (answer.status, answer.reason) == (503, "no_replica")
    assert "x-slipway-cold-start" not in answer.headers


async def test_a_request_in_the_lobby_is_counted_once(router: Router, start_model: StartModel) -> None:
    await router.serve(endpoint(deployment("blue", scale=SCALED_TO_ZERO)))
    slot = router.reconciler.slots().find(("team-a", "credit", "blue"))
    assert slot is not None

    call = asyncio.create_task(router.call())
    await held(router, count=1)
    waiting_now = (await router.runtime.show_load())[0][slot]
    blue = await start_model("blue-1", released=asyncio.Event())
    assert blue.released is not None
    await router.serve(endpoint(deployment("blue", blue, scale=SCALED_TO_ZERO), generation=2))
    await blue.arrived.wait()
    running = (await router.runtime.show_load())[0][slot]
    blue.released.set()
    assert (await call).status == 200
    done = (await router.runtime.show_load())[0][slot]

    assert (waiting_now.in_flight, waiting_now.queued) == (0, 0)
    assert (running.in_flight, running.queued) == (1, 0)
    assert (done.in_flight, done.requests, done.status_2xx) == (0, 1, 1)


async def test_a_held_chunked_upload_arrives_whole(router: Router, start_model: StartModel) -> None:
    await router.serve(endpoint(deployment("blue", scale=SCALED_TO_ZERO)))

    async def pieces():  # type: ignore[no-untyped-def]
        for number in range(20):
            yield b"%04d" % number * 1000

    call = asyncio.create_task(router.call(data=pieces()))
    await held(router, count=1)
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue, scale=SCALED_TO_ZERO), generation=2))

    assert (await call).status == 200
    assert blue.seen[0].body == b"".join(b"%04d" % n * 1000 for n in range(20))


async def test_a_caller_that_gives_up_leaves_the_lobby(router: Router, start_model: StartModel) -> None:
    await router.serve(endpoint(deployment("blue", scale=SCALED_TO_ZERO)))
    call = asyncio.create_task(router.call())
    await held(router, count=1)

    call.cancel()
    blue = await start_model("blue-1")
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0.1)  # HAProxy sees the closed connection in its own time
    await router.serve(endpoint(deployment("blue", blue, scale=SCALED_TO_ZERO), generation=2))

    assert (await router.call()).text == "blue-1"
    await eventually(lambda: not blue.in_flight)
    assert len(blue.seen) == 1
