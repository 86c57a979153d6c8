"""One connection, many keys: what it sent before opens nothing, however its requests are mixed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from routerd.contract import key_hash
from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint, eventually

LONG = "k" * 512  # as long as a key may be that a connection keeps
LONGER = "l" * 513


class Line:
    """One kept connection to the router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, key: str | None, *, name: str = "credit", scheme: str = "Bearer") -> int:
        """The status of one more request."""
        lines = [f"POST /api/v1/endpoint/{name}/score HTTP/1.1", "host: x", "content-length: 2"]
        lines += [f"authorization: {scheme} {key}"] if key is not None else []
        self._writer.write("\r\n".join([*lines, "", "{}"]).encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert "connection: close" not in head
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        await self._reader.readexactly(length)
        return int(head.split()[1])


@asynccontextmanager
async def connected(router: Router) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection(router.settings.bind, router.settings.inference_port)
    try:
        async with asyncio.timeout(10):
            yield Line(reader, writer)
    finally:
        writer.close()


async def test_each_request_of_a_connection_is_judged_by_its_own_key(router: Router, start_model: StartModel) -> None:
    blue, green = await start_model("blue-1"), await start_model("green-1")
    keys = tuple((f"k{n}", key_hash(key)) for n, key in enumerate((KEY, LONG, LONGER)))
    await router.serve(
        endpoint(deployment("blue", blue), keys=keys),
        endpoint(deployment("green", green), name="fraud", keys=(("primary", key_hash("fraud's")),)),
    )
    wrong = [
        None,
        "",
        "wrong",
        KEY + "x",
        KEY[:-1],
        KEY.upper(),
        "fraud's",
        LONG[:-1],
        LONG + "k",
        LONGER[:-1],
        LONGER + "l",
    ]
    async with connected(router) as line:
        for key in wrong:
            for good in (KEY, LONG, LONGER):
                assert await line.ask(good) == 200
                assert await line.ask(key) == 401, key
                assert await line.ask(key) == 401, key
        for key in (LONG, LONGER, LONG, KEY, LONGER, KEY):
            assert await line.ask(key) == 200
            assert await line.ask(key, name="fraud") == 401
            assert await line.ask("fraud's") == 401
            assert await line.ask("fraud's", name="fraud") == 200
        assert await line.ask(KEY) == 200
        assert await line.ask(KEY, scheme="Basic") == 401
        assert await line.ask(KEY, scheme="Bearer  ") == 200  # as RFC 9110 has it: one space or more
        assert await line.ask("wrong", scheme="Bearer  ") == 401
        assert await line.ask("", scheme=KEY) == 401
    assert all("authorization" not in seen.headers for seen in (*blue.seen, *green.seen))


@pytest.mark.parametrize("change", ["revoked", "deleted"])
async def test_a_key_that_is_taken_away_opens_nothing_on_a_connection_that_used_it(
    router: Router, start_model: StartModel, change: str
) -> None:
    blue = await start_model("blue-1")
    before = endpoint(deployment("blue", blue))
    await router.serve(before)
    async with connected(router) as line:
        assert await line.ask(KEY) == 200
        if change == "revoked":
            await router.serve(replace(before, keys=(("primary", key_hash("another")),)))
        else:
            await router.serve()

        async def refused() -> bool:
            return await line.ask(KEY) == (401 if change == "revoked" else 404)

        await eventually(refused)
        assert len(blue.seen) >= 1
