"""A reload: connections that were open before it are served by the new worker's table."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from routerd.contract import key_hash
from routerd.haproxy.reload import reload_haproxy
from tests.routerd.conftest import KEY, Router, StartModel, deployment, endpoint

NEW_KEY = "the-key-after-the-reload"


class KeptAlive:
    """One HTTP/1.1 connection that its caller keeps open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, router: Router) -> "KeptAlive":
        return cls(*await asyncio.open_connection(router.settings.bind, router.settings.inference_port))

    async def call(self, *, key: str, chunked: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Send one request and read its answer: status, headers in lower case, body."""
        body = "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" if chunked else "content-length: 2\r\n\r\n{}"
        head = f"POST /api/v1/endpoint/credit/score HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        self.writer.write((head + body).encode())
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))


OpenConnection = Callable[[], Awaitable[KeptAlive]]


@pytest.fixture
async def connect(router: Router) -> AsyncIterator[OpenConnection]:
    """Open connections to the router; they end with the test."""
    opened: list[KeptAlive] = []

    async def connect_now() -> KeptAlive:
        opened.append(await KeptAlive.open(router))
        return opened[-1]

    yield connect_now
    for connection in opened:
        connection.writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_key_revoked_after_a_reload_is_refused_on_connections_from_before_it(
    router: Router, start_model: StartModel, connect: OpenConnection, chunked: bool
) -> None:
    blue = await start_model("blue-1")
    await router.serve(endpoint(deployment("blue", blue, concurrency=4)))
    with_old_key, with_new_key = await connect(), await connect()
    for connection in (with_old_key, with_new_key):
        assert (await connection.call(key=KEY, chunked=chunked))[0] == 200
    worker, _ = await router.runtime.process_ids()

    await reload_haproxy(router.settings)
    rotated = endpoint(deployment("blue", blue), keys=(("primary", key_hash(NEW_KEY)),), key_revision=2, generation=2)
    await router.serve(rotated)
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/credit"].key_revision == 2)

    assert (await router.runtime.process_ids())[0] != worker
    status, headers, body = await with_old_key.call(key=KEY, chunked=chunked)
    assert (status, json.loads(body)["code"]) == (401, "unauthorized")
    assert headers["x-request-id"]
    status, headers, body = await with_new_key.call(key=NEW_KEY, chunked=chunked)
    assert (status, body) == (200, b"blue-1")
    assert headers["connection"] == "close"  # and the next request comes on a connection to the new worker


async def test_after_two_reloads_the_oldest_connection_still_gets_the_newest_table(
    router: Router, start_model: StartModel, connect: OpenConnection
) -> None:
    blue, green = await start_model("blue-1"), await start_model("green-1")
    await router.serve(endpoint(deployment("blue", blue)))
    oldest = await connect()
    assert (await oldest.call(key=KEY))[2] == b"blue-1"

    for _ in range(2):
        await reload_haproxy(router.settings)
    await router.serve(endpoint(deployment("green", green), generation=2))
    await router.wait_for(lambda: router.reconciler.in_force()["team-a/credit"].generation == 2)

    assert (await oldest.call(key=KEY))[2] == b"green-1"
