"""Too much, too slow, without an end: ended by the router, and nobody else waits for it."""

import asyncio
import re
import time
from collections.abc import Iterator

import pytest

from tests.routerd.conftest import KEY, deployment, endpoint
from tests.routerd.hostile.conftest import AUTH, Stage, statuses

_FIRST = b"POST /api/v1/endpoint/credit/score HTTP/1.1\r\nhost: x\r\n" + AUTH + b"\r\n"
_MEGABYTE = 1_000_000
_SLOW_CALLERS = 100
_STUCK_SECONDS = 3  # nothing is read any more: the rest waits for HAProxy's own time-outs


async def _pour(stage: Stage, head: bytes, piece: bytes, *, most: int) -> tuple[int, bytes]:
    """Send a head and then a piece again and again until the router answers or ends it: (bytes sent, the answer)."""
    reader, writer = await stage.connect()
    answer = asyncio.create_task(reader.read(65_536))
    sent = 0
    try:
        writer.write(head)
        while sent < most and not answer.done() and not writer.transport.is_closing():
            writer.write(piece)
            sent += len(piece)
            await asyncio.wait_for(writer.drain(), _STUCK_SECONDS)
            await asyncio.sleep(0)  # lets the answer come in
        return sent, await asyncio.wait_for(answer, _STUCK_SECONDS)
    except (ConnectionError, TimeoutError):
        return sent, b""
    finally:
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)
        writer.transport.abort()


async def test_too_many_and_too_large_headers_are_refused(stage: Stage) -> None:
    floods = (
        _FIRST + b"".join(b"x-%d: y\r\n" % n for n in range(2000)) + b"\r\n",
        _FIRST + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        _FIRST + b"y" * 100_000 + b": x\r\n\r\n",
        _FIRST + b"cookie: a=b\r\n" * 2000 + b"\r\n",
        _FIRST.replace(b"/score", b"/score?" + b"q" * 100_000) + b"\r\n",
    )

    assert [statuses(answer) for answer in await stage.send_all(floods)] == [[400]] * len(floods)

    assert stage.ours.requests == []
    await stage.assert_unharmed()


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (_FIRST, b"x: y\r\n" * 1000),
        (_FIRST + b"x: ", b"y" * 10_000),
        (b"GET /", b"a" * 10_000),
        (b"", b"\r\n" * 5000),
        (_FIRST + b"transfer-encoding: chunked\r\n\r\n5;", b"a" * 10_000),
        (_FIRST + b"transfer-encoding: chunked\r\n\r\n", b"0" * 10_000),
        (_FIRST + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 1000),
    ],
    ids=["lines", "one line", "path", "empty lines", "chunk extension", "chunk size", "trailers"],
)
async def test_heads_without_an_end_are_cut(stage: Stage, head: bytes, piece: bytes) -> None:
    sent, answer = await _pour(stage, head, piece, most=30 * _MEGABYTE)

    assert sent < 30 * _MEGABYTE
    assert [s for s in statuses(answer) if s < 400] == []
    assert stage.ours.requests == []
    await stage.assert_unharmed()


@pytest.mark.parametrize("method", ["POST", "DELETE", "GET", "BREW"])
async def test_chunks_without_an_end_are_cut_at_the_limit(stage: Stage, method: str) -> None:
    limit = stage.router.settings.max_body_bytes
    head = _FIRST.replace(b"POST", method.encode()) + b"transfer-encoding: chunked\r\n\r\n"

    sent, answer = await _pour(stage, head, b"ffff\r\n" + b"a" * 0xFFFF + b"\r\n", most=50 * limit)

    assert sent < 30 * limit  # what stands in sockets on its way is not the model's
    assert statuses(answer) in ([413], [])
    assert stage.ours.requests == []
    assert len(stage.ours.everything) < 2 * limit
    await stage.assert_unharmed()


@pytest.mark.parametrize("zeros", [1, 12, 40, 300])
async def test_a_length_that_begins_with_zeros_hides_nothing(stage: Stage, zeros: int) -> None:
    length = b"0" * zeros + b"%d" % (stage.router.settings.max_body_bytes + 1)

    answer = await stage.send(_FIRST + b"content-length: " + length + b"\r\nconnection: close\r\n\r\n")

    assert statuses(answer) == [413]
    assert stage.ours.requests == []


async def test_a_thousand_requests_at_once_on_one_connection_hurt_nobody_else(stage: Stage) -> None:
    await stage.send((_FIRST + b"content-length: 0\r\n\r\n") * 1000)

    await stage.assert_unharmed()


def _slow_heads() -> Iterator[bytes]:
    """The beginnings of requests that never go on, each stopped somewhere else."""
    whole = _FIRST + b"x: y\r\n"
    return (whole[: 1 + number * (len(whole) - 1) // _SLOW_CALLERS] for number in range(_SLOW_CALLERS))


async def test_slow_heads_keep_nobody_else_waiting(stage: Stage) -> None:
    connections = [await stage.connect() for _ in range(_SLOW_CALLERS)]
    for (_, writer), start in zip(connections, _slow_heads(), strict=True):
        writer.write(start)

    await stage.assert_unharmed()

    for _, writer in connections:
        writer.transport.abort()
    assert stage.ours.requests[3:] == []


@pytest.mark.slow
async def test_slow_heads_and_bodies_are_ended_with_a_408(stage: Stage) -> None:
    starts = [*_slow_heads(), _FIRST + b"content-length: 1000\r\n\r\n{"]
    connections = [await stage.connect() for _ in starts]
    for (_, writer), start in zip(connections, starts, strict=True):
        writer.write(start)

    started = time.monotonic()
    answers = await asyncio.wait_for(asyncio.gather(*(_one_answer(reader) for reader, _ in connections)), 60)

    assert {tuple(statuses(answer)) for answer in answers} == {(408,)}
    assert time.monotonic() - started > 20
    assert b"request_timeout" in answers[-1]
    for _, writer in connections:
        writer.transport.abort()
    await stage.assert_unharmed()


async def _one_answer(reader: asyncio.StreamReader) -> bytes:
    """Head and body. (Newer HAProxys leave the connection open for a while, to take in the rest of the request.)"""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    return head + await reader.readexactly(int(length[1]))


async def test_a_slow_body_does_not_keep_the_model_from_others(stage: Stage) -> None:
    mine = deployment("blue", replicas=(stage.ours.replica,), concurrency=1)
    await stage.router.serve(endpoint(mine, generation=2))
    await stage.router.wait_for(lambda: stage.router.reconciler.in_force()["team-a/credit"].generation == 2)
    slow = [await stage.connect() for _ in range(5)]
    for _, writer in slow:
        writer.write(_FIRST + b"content-length: 1000\r\n\r\n{")
        await writer.drain()

    answers = [await stage.router.call(key=KEY) for _ in range(5)]

    assert [answer.status for answer in answers] == [200] * 5
    assert len(stage.ours.requests) == 5
    for _, writer in slow:
        writer.transport.abort()
