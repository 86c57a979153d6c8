"""HTTP/2 by hand: frames a well-behaved client would never send."""

import struct
from collections.abc import Iterable
from typing import Final

from hpack import Decoder

from tests.routerd.conftest import KEY

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, PRIORITY = 0x1, 0x4, 0x8, 0x20
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Pairs = Iterable[tuple[bytes, bytes]]


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None) -> bytes:
    """One frame; `length` lies about the payload's."""
    told = len(payload) if length is None else length
    return struct.pack(">I", told)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


OPENING: Final = PREFACE + frame(SETTINGS)


def block(pairs: Pairs) -> bytes:
    """Headers as literals that no table remembers: any bytes pass as they are."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in pairs)


def _text(data: bytes) -> bytes:
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, encoded = len(data) - 127, b"\x7f"
    while rest >= 128:
        encoded += bytes([rest % 128 + 128])
        rest //= 128
    return encoded + bytes([rest]) + data


def pairs(
    *more: tuple[bytes, bytes],
    path: bytes = b"/api/v1/endpoint/credit/score",
    method: bytes = b"POST",
    key: bytes = KEY.encode(),
) -> list[tuple[bytes, bytes]]:
    """The header list of an honest request with the attacker's key, and then some."""
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
    return [*pseudo, (b"authorization", b"Bearer " + key), *more]


def request(headers: Pairs, *, stream: int = 1, body: bytes | None = None) -> bytes:
    """A HEADERS frame, and a DATA frame where there is a body."""
    flags = END_HEADERS | (END_STREAM if body is None else 0)
    head = frame(HEADERS, block(headers), flags=flags, stream=stream)
    return head if body is None else head + frame(DATA, body, flags=END_STREAM, stream=stream)


def statuses(answer: bytes) -> list[int]:
    """The :status of every answer in the frames a connection gave back, in order."""
    return [status for _, status in answers(answer)]


def answers(answer: bytes) -> list[tuple[int, int]]:
    """(stream, its :status) of every answer in the frames a connection gave back, in order."""
    decoder, found = Decoder(), []
    while len(answer) >= 9:
        length, kind, stream = int.from_bytes(answer[:3], "big"), answer[3], int.from_bytes(answer[5:9], "big")
        if kind == HEADERS:
            pairs = decoder.decode(answer[9 : 9 + length])
            found += [(stream, int(value)) for name, value in pairs if name == ":status"]
        answer = answer[9 + length :]
    return found


def kinds(answer: bytes) -> list[int]:
    """The kinds of the frames a connection gave back, in order."""
    found = []
    while len(answer) >= 9:
        found.append(answer[3])
        answer = answer[9 + int.from_bytes(answer[:3], "big") :]
    return found
