"""The in-memory channel layer: filled from any thread, read on the loop that owns it."""

import asyncio
import threading
import time

from studio.layer import LoopBoundLayer


async def test_a_message_of_another_thread_wakes_the_reader_at_once() -> None:
    layer = LoopBoundLayer()
    channel = await layer.new_channel()
    await layer.group_add("live.x", channel)
    waiting = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0)
    sent = time.monotonic()
    thread = threading.Thread(target=layer.post, args=("live.x", {"type": "live.changed"}))
    thread.start()
    assert await asyncio.wait_for(waiting, 2) == {"type": "live.changed"}
    assert time.monotonic() - sent < 0.5
    thread.join()


async def test_a_reader_far_behind_loses_the_newest_and_nobody_is_held_up() -> None:
    layer = LoopBoundLayer(capacity=3)
    channel = await layer.new_channel()
    await layer.group_add("live.x", channel)
    for n in range(10):
        await layer.group_send("live.x", {"n": n})
    await asyncio.sleep(0.01)
    assert [(await layer.receive(channel))["n"] for _ in range(3)] == [0, 1, 2]
    await layer.group_send("live.x", {"n": 99})
    assert (await asyncio.wait_for(layer.receive(channel), 2))["n"] == 99


def test_a_new_server_starts_with_nobody_listening() -> None:
    layer = LoopBoundLayer()

    async def listen() -> None:
        await layer.group_add("live.x", await layer.new_channel())

    asyncio.run(listen())
    layer.post("live.x", {})  # its loop is closed: nobody is there, nothing breaks
    asyncio.run(listen())
    assert len(layer.groups["live.x"]) == 1


def test_without_a_server_a_message_goes_nowhere() -> None:
    LoopBoundLayer().post("live.x", {})
