"""Requests whose end two programs could see in two places: refused, or made unambiguous before a model sees them."""

import pytest

from tests.routerd.hostile.conftest import AUTH, Stage, statuses

_FIRST = b"POST /api/v1/endpoint/credit/score HTTP/1.1\r\nhost: x\r\n" + AUTH + b"\r\n"
_HIDDEN = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
_HIDDEN_FOR_OTHERS = b"POST /api/v1/endpoint/fraud/smuggled HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
_ENDED = b"0\r\n\r\n"


def _length(*values: bytes) -> bytes:
    return _FIRST + b"".join(b"content-length: " + value + b"\r\n" for value in values) + b"\r\n"


def _coding(*lines: bytes, length: bytes = b"5") -> bytes:
    return _FIRST + b"content-length: " + length + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _chunked(body: bytes) -> bytes:
    return _FIRST + b"transfer-encoding: chunked\r\n\r\n" + body


AMBIGUOUS_LENGTHS = {
    "two lengths": _length(b"5", b"44"),
    "two lengths in one": _length(b"5, 44"),
    "a signed length": _length(b"+5"),
    "a negative length": _length(b"-1"),
    "a hexadecimal length": _length(b"0x5"),
    "a length with a space": _length(b"5 5"),
    "an empty length": _length(b""),
    "a length no number holds": _length(b"99999999999999999999"),
    "a length with a word": _length(b"5 chunked"),
    "a folded length": _FIRST + b"content-length:\r\n 5\r\ncontent-length: 44\r\n\r\n",
    "a space before the colon": _FIRST + b"content-length : 5\r\n\r\n",
    "a tab before the colon": _FIRST + b"content-length\t: 5\r\n\r\n",
}
AMBIGUOUS_CODINGS = {
    "an unknown coding": _coding(b"transfer-encoding: xchunked"),
    "identity after chunked": _coding(b"transfer-encoding: chunked, identity"),
    "chunked twice": _coding(b"transfer-encoding: chunked, chunked"),
    "chunked twice on two lines": _coding(b"transfer-encoding: chunked", b"transfer-encoding: chunked"),
    "a coding and then another": _coding(b"transfer-encoding: chunked", b"transfer-encoding: cow"),
    "a vertical tab": _coding(b"transfer-encoding: \x0bchunked"),
    "a null byte": _coding(b"transfer-encoding: chunked\0"),
    "a null byte in the name": _coding(b"transfer-encoding\0: chunked"),
    "a space in the name": _coding(b"transfer-encoding : chunked"),
    "a space before the name": _coding(b"x: y", b" transfer-encoding: chunked"),
    "an underscore": _coding(b"transfer_encoding: chunked"),
    "quotes": _coding(b'transfer-encoding: "chunked"'),
    "a bare line feed before it": _coding(b"x: y\ntransfer-encoding: chunked"),
    "a bare carriage return before it": _coding(b"x: y\rtransfer-encoding: chunked"),
    "a fold": _coding(b"transfer-encoding:", b" chunked"),
    "both, in this order": _coding(b"transfer-encoding: chunked"),
    "both, in the other order": _FIRST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
    "version 1.0": _coding(b"transfer-encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
}
BROKEN_CHUNKS = {
    "a hexadecimal prefix": _chunked(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a sign": _chunked(b"+5\r\nhello\r\n0\r\n\r\n"),
    "a size no number holds": _chunked(b"fffffffffffffffff0\r\nhello\r\n0\r\n\r\n"),
    "a size that is no number": _chunked(b"five\r\nhello\r\n0\r\n\r\n"),
    "a size with a space inside": _chunked(b"5 5\r\nhello\r\n0\r\n\r\n"),
    "more data than told": _chunked(b"2\r\nhello\r\n0\r\n\r\n"),
    "no line end after the data": _chunked(b"5\r\nhello0\r\n\r\n"),
    "a bare carriage return": _chunked(b"5\rhello\r\n0\r\n\r\n"),
    "an empty size": _chunked(b"\r\nhello\r\n0\r\n\r\n"),
}
BROKEN_HEADS = {
    "a null byte in a value": _FIRST + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
    "a bare carriage return in a value": _FIRST + b"x: a\rcontent-length: 5\r\n\r\n",
    "a line without a colon": _FIRST + b"nothing\r\n\r\n",
    "a name of nothing": _FIRST + b": nothing\r\n\r\n",
    "a space in a name": _FIRST + b"x y: z\r\n\r\n",
    "a first line of spaces": b"  " + _FIRST + b"\r\n",
    "version 9.9": _FIRST.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n",
    "version 2.0": _FIRST.replace(b"HTTP/1.1", b"HTTP/2.0") + b"\r\n",
    "version 0.9": b"GET /api/v1/endpoint/credit/score\r\n\r\n",
    "a path with a space": _FIRST.replace(b"/score", b"/score /x") + b"\r\n",
    "a path with a tab": _FIRST.replace(b"/score", b"/score\t/x") + b"\r\n",
    "a path with a null byte": _FIRST.replace(b"/score", b"/score\0") + b"\r\n",
    "a path with a fragment": _FIRST.replace(b"/score", b"/score#x") + b"\r\n",
    "a method with a colon": _FIRST.replace(b"POST", b"PO:ST") + b"\r\n",
    "two hosts": _FIRST + b"host: fraud\r\ncontent-length: 0\r\n\r\n",
}


def _attacks(shapes: dict[str, bytes]) -> list[bytes]:
    """Every shape with a hidden request behind it, once as a body of five bytes and once as chunks that end."""
    return [
        shape + start + hidden
        for shape in shapes.values()
        for start in (b"hello", _ENDED)
        for hidden in (_HIDDEN, _HIDDEN_FOR_OTHERS)
    ]


async def _refused(stage: Stage, shapes: dict[str, bytes]) -> dict[str, list[int]]:
    """What each shape was answered, where that was anything but one 400."""
    answers = await stage.send_all(shape + b"hello" for shape in shapes.values())
    told = dict(zip(shapes, map(statuses, answers), strict=True))
    return {name: found for name, found in told.items() if found != [400]}


@pytest.mark.parametrize(
    "shapes",
    [AMBIGUOUS_LENGTHS, AMBIGUOUS_CODINGS, BROKEN_HEADS],
    ids=["content-length", "transfer-encoding", "heads"],
)
async def test_a_request_hidden_behind_another_reaches_no_model(stage: Stage, shapes: dict[str, bytes]) -> None:
    await stage.send_all(_attacks(shapes))

    await stage.assert_unharmed()


async def test_lengths_that_can_be_read_in_two_ways_are_refused(stage: Stage) -> None:
    assert await _refused(stage, AMBIGUOUS_LENGTHS) == {}
    assert stage.ours.requests == []
    await stage.assert_unharmed()


async def test_codings_other_than_one_chunked_are_refused(stage: Stage) -> None:
    # An underscore makes another header of it, and a line that begins with a space goes on with the one before.
    no_coding = ("an underscore", "a space before the name")
    shapes = {name: shape for name, shape in AMBIGUOUS_CODINGS.items() if name not in no_coding}

    assert await _refused(stage, shapes) == {}
    assert stage.ours.requests == []
    await stage.assert_unharmed()


async def test_broken_heads_are_refused(stage: Stage) -> None:
    # HAProxy speaks 1.1 to the model whatever higher version a caller claims.
    assert (
        await _refused(stage, {n: s for n, s in BROKEN_HEADS.items() if n not in ("version 9.9", "version 2.0")}) == {}
    )
    assert stage.ours.requests == []
    await stage.assert_unharmed()


async def test_broken_chunks_are_not_completed_for_the_model(stage: Stage) -> None:
    await stage.send_all(body + hidden for body in BROKEN_CHUNKS.values() for hidden in (b"", _HIDDEN))

    assert [r.body for r in stage.ours.requests] == []
    await stage.assert_unharmed()


async def test_a_length_beside_chunks_is_dropped_and_the_chunks_are_what_counts(stage: Stage) -> None:
    both = _FIRST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"

    assert statuses(await stage.send(both)) == [200]

    assert [(r.values(b"content-length"), r.body) for r in stage.ours.requests] == [([], b"hello")]
    await stage.assert_unharmed()


async def test_chunk_extensions_and_trailers_do_not_steer_the_router(stage: Stage) -> None:
    slot = stage.slot("fraud", "red").encode()
    trailers = b"x-slipway-hop-slot: " + slot + b"\r\nauthorization: Bearer x\r\ncontent-length: 3\r\n\r\n"

    answer = await stage.send(_chunked(b"5;name=value\r\nhello\r\n0;a\r\n" + trailers))

    assert statuses(answer) == [200]
    assert [r.body for r in stage.ours.requests] == [b"hello"]
    await stage.assert_unharmed()


async def test_two_requests_at_once_are_two_requests(stage: Stage) -> None:
    one = _FIRST + b"content-length: 5\r\n\r\nhello"

    answer = await stage.send(one + one.replace(b"/credit/", b"/fraud/") + one)

    assert statuses(answer) == [200, 401, 200]
    await stage.assert_unharmed()


async def test_an_upgrade_to_http2_is_not_offered_to_the_model(stage: Stage) -> None:
    upgrade = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n"

    await stage.send(_FIRST + upgrade + b"content-length: 0\r\n\r\n")

    assert [r.values(b"upgrade") for r in stage.ours.requests] == [[]]
    await stage.assert_unharmed()
