"""HTTP/2 as no client sends it: broken frames, headers that would be two in HTTP/1.1, streams without end."""

import asyncio
import random

from tests.routerd.conftest import KEY
from tests.routerd.hostile import h2
from tests.routerd.hostile.conftest import OTHER_KEY, Stage

_SEED = 20_231_010
_NOISE = 200

BROKEN = {
    "half a preface": h2.PREFACE[:12],
    "a preface with another word": h2.PREFACE.replace(b"SM", b"XX"),
    "a preface and no settings": h2.PREFACE + h2.frame(h2.PING, b"12345678"),
    "settings of five bytes": h2.PREFACE + h2.frame(h2.SETTINGS, b"12345"),
    "settings on a stream": h2.PREFACE + h2.frame(h2.SETTINGS, stream=1),
    "an acknowledgement with a payload": h2.OPENING + h2.frame(h2.SETTINGS, b"123456", flags=1),
    "a window that overflows": h2.OPENING + h2.frame(h2.SETTINGS, b"\0\4\xff\xff\xff\xff"),
    "a frame longer than allowed": h2.OPENING + h2.frame(h2.DATA, b"x", stream=1, length=0xFFFFFF),
    "data on stream zero": h2.OPENING + h2.frame(h2.DATA, b"x"),
    "data on an idle stream": h2.OPENING + h2.frame(h2.DATA, b"x", stream=1),
    "headers on stream zero": h2.OPENING + h2.frame(h2.HEADERS, h2.block(h2.pairs()), flags=5),
    "headers on an even stream": h2.OPENING + h2.request(h2.pairs(), stream=2),
    "a stream number used again": h2.OPENING + h2.request(h2.pairs(), stream=3) + h2.request(h2.pairs(), stream=1),
    "a header block of noise": h2.OPENING + h2.frame(h2.HEADERS, b"\xff" * 100, flags=5, stream=1),
    "an index beyond the table": h2.OPENING + h2.frame(h2.HEADERS, b"\xff\xff\xff\x7f", flags=5, stream=1),
    "a table size no limit allows": h2.OPENING + h2.frame(h2.HEADERS, b"\x3f\xff\xff\xff\x7f", flags=5, stream=1),
    "padding longer than the frame": h2.OPENING + h2.frame(h2.HEADERS, b"\xff\0", flags=0x0D, stream=1),
    "a stream that depends on itself": h2.OPENING
    + h2.frame(h2.HEADERS, b"\0\0\0\1\x10" + h2.block(h2.pairs()), flags=0x25, stream=1),
    "a continuation of nothing": h2.OPENING + h2.frame(h2.CONTINUATION, b"x", flags=4, stream=1),
    "something between headers and continuation": h2.OPENING
    + h2.frame(h2.HEADERS, h2.block(h2.pairs()), stream=1)
    + h2.frame(h2.PING, b"12345678"),
    "a window update of zero": h2.OPENING + h2.frame(h2.WINDOW_UPDATE, bytes(4)),
    "a window beyond its end": h2.OPENING + h2.frame(h2.WINDOW_UPDATE, b"\x7f\xff\xff\xff") * 2,
    "a reset of stream zero": h2.OPENING + h2.frame(h2.RST_STREAM, bytes(4)),
    "a push from a client": h2.OPENING + h2.frame(h2.PUSH_PROMISE, bytes(4), flags=4, stream=1),
    "a ping of seven bytes": h2.OPENING + h2.frame(h2.PING, b"1234567"),
}

_TWO_IN_ONE = (
    (b"x", b"a\r\nx-slipway-hop-slot: LOBBY"),
    (b"x", b"a\nx-slipway-hop-slot: LOBBY"),
    (b"x", b"a\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"),
    (b"x", b"a\0b"),
    (b"x\r\nx-slipway-token", b"t"),
    (b"x: y\r\nz", b"a"),
    (b"x y", b"a"),
    (b"", b"a"),
    (b"X-Routerd-Slot", b"LOBBY"),
    (b"transfer-encoding", b"chunked"),
    (b"connection", b"upgrade"),
    (b"upgrade", b"h2c"),
    (b"proxy-connection", b"keep-alive"),
    (b"keep-alive", b"5"),
    (b"te", b"gzip, chunked"),
    (b":path", b"/api/v1/endpoint/fraud/score"),
    (b":unknown", b"x"),
    (b":method", b"GET"),
    (b"content-length", b"1"),
    (b"content-length", b"9999"),
    (b"content-length", b"+5"),
    (b"content-length", b"5, 5, 6"),
    (b"host", b"fraud"),
)
_PSEUDO = (
    {"path": b"/api/v1/endpoint/fraud/score"},
    {"path": b"/api/v1/endpoint/credit/../fraud/score"},
    {"path": b"/api/v1/endpoint/credit/score HTTP/1.1\r\nx-slipway-hop-slot: LOBBY\r\nx:"},
    {"path": b"/api/v1/endpoint/credit/a b"},
    {"path": b"/api/v1/endpoint/credit/a\0b"},
    {"path": b"http://x/api/v1/endpoint/fraud/score"},
    {"path": b"*"},
    {"path": b""},
    {"method": b"POST /api/v1/endpoint/fraud/smuggled HTTP/1.1\r\nx:"},
    {"method": b"GET /"},
    {"method": b""},
    {"method": b"CONNECT"},
)


async def test_a_plain_request_over_http2_is_answered(stage: Stage) -> None:
    answer = await stage.send(h2.OPENING + h2.request(h2.pairs((b"content-length", b"5")), body=b"hello"))

    assert h2.statuses(answer) == [200]
    assert [r.body for r in stage.ours.requests] == [b"hello"]
    await stage.assert_unharmed()


async def test_broken_connections_are_ended_and_hurt_nobody_else(stage: Stage) -> None:
    answers = dict(zip(BROKEN, await stage.send_all(BROKEN.values()), strict=True))

    told = {name: h2.kinds(answer) for name, answer in answers.items() if not answer.startswith(b"HTTP/1.1 400")}
    # HAProxy waits for more of these, as long as for any head.
    unfinished = {"half a preface", "a preface and no settings", "settings on a stream"}
    unfinished |= {"a frame longer than allowed", "something between headers and continuation"}
    ended = {h2.GOAWAY, h2.RST_STREAM}
    assert {name: found for name, found in told.items() if name not in unfinished and not ended & set(found)} == {}
    assert [name for name in unfinished if 200 in h2.statuses(answers[name])] == []
    await stage.assert_unharmed()


async def test_headers_that_would_be_two_in_http1_reach_no_model(stage: Stage) -> None:
    attacks = [h2.OPENING + h2.request(h2.pairs(pair), body=b"hello") for pair in _TWO_IN_ONE]
    attacks += [h2.OPENING + h2.request(h2.pairs(**change), body=b"hello") for change in _PSEUDO]

    await stage.send_all(attacks)

    assert [r.head for r in stage.ours.requests if b"LOBBY" in r.head or b"fraud" in r.head] == []
    await stage.assert_unharmed()


async def test_forged_internal_headers_over_http2_steer_nothing(stage: Stage) -> None:
    forged = [(b"x-slipway-hop-slot", stage.slot("fraud", "red").encode()), (b"x-slipway-hop-endpoint", b"fraud")]
    forged += [(b"x-slipway-token", b"t"), (b"x-slipway-reason", b"queue_full"), (b"x-request-id", b"mine")]

    for length in ([(b"content-length", b"5")], []):
        answer = await stage.send(h2.OPENING + h2.request(h2.pairs(*forged, *length), body=b"hello"))
        assert h2.statuses(answer) == [200]

    assert [r.body for r in stage.ours.requests] == [b"hello"] * 2
    await stage.assert_unharmed()


async def test_a_body_without_an_end_is_cut_at_the_limit_whatever_the_method(stage: Stage) -> None:
    limit = stage.router.settings.max_body_bytes

    for method in (b"POST", b"DELETE", b"GET", b"BREW"):
        sent = await _pour(stage, method=method, most=8 * limit)
        assert sent < 4 * limit, method

    assert [len(r.body) for r in stage.ours.requests if len(r.body) > limit] == []
    assert len(stage.ours.everything) < 4 * 2 * limit
    await stage.assert_unharmed()


async def _pour(stage: Stage, *, method: bytes, most: int) -> int:
    """Send DATA frames, with as much window as HAProxy grants, until it ends the stream; bytes sent."""
    reader, writer = await stage.connect()
    head = h2.frame(h2.HEADERS, h2.block(h2.pairs(method=method)), flags=h2.END_HEADERS, stream=1)
    writer.write(h2.OPENING + h2.frame(h2.SETTINGS, flags=1) + head)
    sent, window, got = 0, 65_535, b""
    try:
        while sent < most:
            if window >= 16_384:
                writer.write(h2.frame(h2.DATA, bytes(16_384), stream=1))
                await writer.drain()
                sent, window = sent + 16_384, window - 16_384
                continue
            data = await asyncio.wait_for(reader.read(65_536), 5)
            if not data:
                break
            got += data
            window = 65_535 + _granted(got) - sent
            if h2.HEADERS in h2.kinds(got) or h2.RST_STREAM in h2.kinds(got):
                break
    except (ConnectionError, TimeoutError):
        pass
    writer.transport.abort()
    return sent


def _granted(answer: bytes) -> int:
    """What WINDOW_UPDATE frames gave to a connection with one stream: the smaller of the two sums."""
    sums = {0: 0, 1: 0}
    while len(answer) >= 13:
        length, kind, stream = int.from_bytes(answer[:3], "big"), answer[3], int.from_bytes(answer[5:9], "big")
        if kind == h2.WINDOW_UPDATE:
            sums[stream] = sums.get(stream, 0) + int.from_bytes(answer[9:13], "big")
        answer = answer[9 + length :]
    return min(sums[0], sums[1])


async def test_streams_of_one_connection_are_judged_each_by_its_own_key(stage: Stage) -> None:
    keys = {n: (KEY, "wrong", OTHER_KEY, KEY[:-1])[n // 2 % 4].encode() for n in range(1, 120, 2)}
    length = (b"content-length", b"5")
    heads = [
        h2.frame(h2.HEADERS, h2.block(h2.pairs(length, key=key)), flags=h2.END_HEADERS, stream=n)
        for n, key in keys.items()
    ]
    bodies = [h2.frame(h2.DATA, b"hello", flags=h2.END_STREAM, stream=n) for n in reversed(keys)]

    answer = await stage.send(h2.OPENING + b"".join(heads), b"".join(bodies))

    assert dict(h2.answers(answer)) == {n: 200 if key == KEY.encode() else 401 for n, key in keys.items()}
    await stage.assert_unharmed()


async def test_floods_of_cheap_frames_hurt_nobody_else(stage: Stage) -> None:
    headers = h2.block(h2.pairs((b"content-length", b"0")))
    opened = [h2.frame(h2.HEADERS, headers, flags=5, stream=n) for n in range(1, 2000, 2)]
    reset = [
        one + h2.frame(h2.RST_STREAM, bytes(4), stream=n) for n, one in zip(range(1, 2000, 2), opened, strict=True)
    ]
    endless = (
        h2.frame(h2.HEADERS, headers[:20], stream=1) + h2.frame(h2.CONTINUATION, b"\0\1a\1b" * 3000, stream=1) * 60
    )
    floods = [
        b"".join(opened),
        b"".join(reset),
        endless,
        h2.frame(h2.PING, b"12345678") * 20_000,
        h2.frame(h2.SETTINGS, b"\0\3\0\0\0\1") * 20_000,
        h2.frame(h2.CONTINUATION, stream=1) * 20_000,
        h2.frame(h2.WINDOW_UPDATE, b"\0\0\0\1") * 20_000,
    ]

    await stage.send_all(h2.OPENING + flood for flood in floods)

    await stage.assert_unharmed()


async def test_random_frames_hurt_nobody_else(stage: Stage) -> None:
    dice = random.Random(_SEED)  # noqa: S311 noise, not a secret

    for _ in range(_NOISE // 50):
        await stage.send_all(h2.OPENING + _noise(dice) for _ in range(50))

    await stage.assert_unharmed()


def _noise(dice: random.Random) -> bytes:
    """Five to forty frames of any kind, among them honest requests with a byte changed."""
    frames = []
    for number in range(dice.randint(5, 40)):
        if dice.random() < 0.3:
            honest = bytearray(h2.request(h2.pairs(), stream=2 * number + 1))
            honest[dice.randrange(len(honest))] = dice.randrange(256)
            frames.append(bytes(honest))
        else:
            payload = dice.randbytes(dice.choice((0, 1, 4, 5, 6, 8, 100)))
            stream = dice.choice((0, 1, 3, 2 * number + 1))
            frames.append(h2.frame(dice.randrange(12), payload, flags=dice.randrange(256), stream=stream))
    return b"".join(frames)
