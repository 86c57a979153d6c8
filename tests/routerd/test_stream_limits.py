"""A request may take only so long in all, however alive its answer is."""

import asyncio
from contextlib import suppress

import aiohttp

from routerd.haproxy.process import HaproxyProcess
from routerd.settings import Settings
from routerd.stream_limits import find_overdue, parse_age, run_stream_limits
from tests.routerd.conftest import KEY, deployment, endpoint
from tests.routerd.observed import observe
from tests.routerd.streams import EVENT, StreamModel, stream_model

_SHOWN = (
    ("0x55aa", "q500-0001", "1m4s", "80040000"),
    ("0x55ab", "q500-0001", "3s", "80040000"),
    ("0x55ac", "q500-0002", "1h", "80040000"),
    ("0x55ad", "q500-0002", "1h", "80000000"),  # no answer yet
    ("0x55ae", "<NONE>", "9s", "80048101"),
)
SHOWN = "".join(
    f"{stream}: proto=tcpv4 src=127.0.0.1:4 fe=inference be={slot} srv=blue-1 ts=00 epoch=0x1 age={age} calls=3 rate=0 "
    f"cpu=0 lat=0 rq[f=848000h,i=0,an=8000h,ax=] rp[f={flags}h,i=0,an=4000000h,ax=] scf=[8,1402h,fd=16,rex=,wex=]\n"
    for stream, slot, age, flags in _SHOWN
)


def test_streams_that_are_older_than_their_deployment_allows_are_found() -> None:
    assert list(find_overdue(SHOWN, limits={"q500-0001": 4.0})) == [("0x55aa", "q500-0001")]
    assert list(find_overdue(SHOWN, limits={"q500-0002": 3600.0})) == [("0x55ac", "q500-0002")]
    assert list(find_overdue(SHOWN, limits={})) == []
    assert [parse_age(age) for age in ("0s", "59s", "1m4s", "2h3m", "1d2h")] == [0, 59, 64, 7380, 93_600]


async def test_a_stream_that_never_ends_is_ended_and_those_without_a_limit_are_not(
    settings: Settings, haproxy: HaproxyProcess
) -> None:
    async with stream_model() as model, observe(settings, haproxy, run_stream_limits) as observed:
        replicas = (model.replica,)
        blue = deployment("blue", concurrency=10, replicas=replicas, total_timeout_ms=3000)
        green = deployment("green", concurrency=10, replicas=replicas)
        await observed.serve(endpoint(blue, green))
        url = f"http://{settings.bind}:{settings.inference_port}/api/v1/endpoint/credit/events"
        sending = asyncio.create_task(send_for_ever(model))
        ended, lasting = asyncio.Event(), asyncio.Event()

        async def listen(pin: str) -> None:
            headers = {"authorization": f"Bearer {KEY}", "azureml-model-deployment": pin}
            async with observed.callers.session.get(url, headers=headers) as answer:
                try:
                    while await answer.content.readexactly(len(EVENT)):
                        if pin == "green" and ended.is_set():
                            lasting.set()
                except (asyncio.IncompleteReadError, aiohttp.ClientError):
                    ended.set()

        listeners = [asyncio.create_task(listen(pin)) for pin in ("blue", "green")]
        await asyncio.wait_for(ended.wait(), 30)
        await asyncio.wait_for(lasting.wait(), 30)
        for task in (*listeners, sending):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def send_for_ever(model: StreamModel) -> None:
    """Let every stream of the model have its events."""
    while True:
        if model.send.qsize() < 4:
            model.send.put_nowait(True)
        await asyncio.sleep(0.02)


async def test_a_request_without_an_answer_is_left_to_its_own_time_out(
    settings: Settings, haproxy: HaproxyProcess
) -> None:
    async with stream_model() as model, observe(settings, haproxy, run_stream_limits) as observed:
        slow = deployment("blue", replicas=(model.replica,), request_timeout_ms=4000, total_timeout_ms=1000)
        await observed.serve(endpoint(slow))

        answer = await asyncio.wait_for(observed.callers.call(path="/silent", method="GET", data=None), 30)

    assert (answer.status, answer.reason) == (504, "model_timeout")
