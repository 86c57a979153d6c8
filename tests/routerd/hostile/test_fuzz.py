"""Seeded noise: wrong keys in every dress, and honest requests with a few bytes changed."""

import base64
import random
from collections.abc import Iterator

from tests.routerd.conftest import KEY
from tests.routerd.hostile.conftest import AUTH, OTHER_KEY, Stage, statuses

_SEED = 20_210_907
_TOKENS = 150
_MUTATIONS = 300


def _wrong_credentials(dice: random.Random) -> Iterator[bytes]:
    """Values of the authorization header that open nothing."""
    key = KEY.encode()
    yield from (key, b"Bearer", b"Bearer ", b"bearer:" + key, b"Basic " + base64.b64encode(b":" + key), b"Token " + key)
    yield from (b"Bearer " + key[:-1], b"Bearer " + key + b"x", b"Bearer " + key.upper(), b'Bearer "' + key + b'"')
    yield from (b"Bearer " + key + b" " + key, b"Bearer " + base64.b64encode(key))
    yield from (
        b"Bearer " + OTHER_KEY.encode(),
        b"Bearer *",
        b"Bearer %",
        b"Bearer ' or 1=1",
        b"Bearer " + b"a" * 50_000,
    )
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=")
    claims = base64.urlsafe_b64encode(b'{"aud":"credit","exp":9999999999}').rstrip(b"=")
    yield from (b"Bearer " + none + b"." + claims + b"." + tail for tail in (b"", b"x", b"." * 100))
    for _ in range(_TOKENS):
        length = dice.choice((1, 8, 31, 32, 33, 64, 255, 4096))
        yield b"Bearer " + bytes(dice.choice(range(0x21, 0x7F)) for _ in range(length))
    for _ in range(_TOKENS // 3):
        yield b"Bearer " + bytes(dice.choice([b for b in range(1, 256) if b not in (10, 13)]) for _ in range(32))


async def test_no_wrong_credential_opens_an_endpoint(stage: Stage) -> None:
    first = b"POST /api/v1/endpoint/credit/score HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n"
    tried = list(_wrong_credentials(random.Random(_SEED)))  # noqa: S311 noise, not a secret

    answers = await stage.send_all(first + b"authorization: " + value + b"\r\n\r\n" for value in tried)

    opened = [value for value, answer in zip(tried, answers, strict=True) if statuses(answer) not in ([401], [400])]
    assert opened == []
    assert stage.ours.requests == []
    await stage.assert_unharmed()


async def test_a_right_credential_behind_a_wrong_one_opens_nothing_for_the_model_to_see(stage: Stage) -> None:
    first = b"POST /api/v1/endpoint/credit/score HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n"

    await stage.send_all(
        [
            first + b"authorization: Bearer wrong\r\n" + AUTH + b"\r\n\r\n",
            first + AUTH + b"\r\nauthorization: Bearer wrong\r\n\r\n",
        ]
    )

    assert [r.values(b"authorization") for r in stage.ours.requests if r.values(b"authorization")] == []
    await stage.assert_unharmed()


async def test_requests_with_changed_bytes_break_nothing(stage: Stage) -> None:
    dice = random.Random(_SEED)  # noqa: S311 noise, not a secret
    honest = b"POST /api/v1/endpoint/credit/x HTTP/1.1\r\nhost: x\r\n" + AUTH + b"\r\ncontent-length: 5\r\n\r\nhello"
    chunked = honest.replace(
        b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )

    for start in range(0, _MUTATIONS, 100):
        mutations = [_mutated(dice.choice((honest, chunked)), dice) for _ in range(start, start + 100)]
        await stage.send_all(mutations)

    assert [r for r in stage.theirs.requests if r.path == "/x"] == []
    await stage.assert_unharmed()


def _mutated(request: bytes, dice: random.Random) -> bytes:
    """The request with one to four bytes replaced, dropped, doubled or moved."""
    data = bytearray(request)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(data))
        what = dice.randrange(4)
        if what == 0:
            data[place] = dice.choice(b"\0\t\n\r :;,%/\\\x7f\x80\xff") if dice.random() < 0.5 else dice.randrange(256)
        elif what == 1:
            del data[place]
        elif what == 2:
            data[place:place] = data[place : place + dice.randint(1, 20)]
        else:
            data.insert(dice.randrange(len(data)), data.pop(place))
    return bytes(data)
