"""Many watches of one list, read as cheaply as can be, so that the server is measured and not its clients.

while it runs   raw bytes are kept, and looked through for the last change's name
afterwards      chunks -> lines -> events: each watcher saw every change once, in order of revision
"""

import asyncio
import json
import ssl
from typing import Any
from urllib.parse import urlsplit


class Watcher(asyncio.Protocol):
    """One watch over a connection of its own, until `last` is in what it received."""

    def __init__(self, request: bytes, *, last: bytes) -> None:
        self._request, self._last = request, last
        self._received = bytearray()
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        looked_at = max(0, len(self._received) - len(self._last))
        self._received += data
        if not self.answered.done() and b"\r\n\r\n" in self._received:
            self.answered.set_result(None)
        if not self.ended.done() and self._received.find(self._last, looked_at) >= 0:
            self.ended.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.answered, self.ended):
            if not future.done():
                future.set_exception(error or ConnectionError("the watch ended early"))

    def events(self) -> list[dict[str, Any]]:
        """All whole events received. Raises AssertionError when the answer is not 200."""
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        lines = b"".join(_chunks(rest)).split(b"\n")[:-1]
        return [json.loads(line) for line in lines]


def _chunks(body: bytes) -> list[bytes]:
    """The whole chunks of a body in chunked encoding (pure)."""
    found, at = [], 0
    while (end := body.find(b"\r\n", at)) >= 0:
        start, size = end + 2, int(body[at:end], 16)
        if len(body) < start + size + 2:
            break
        found.append(body[start : start + size])
        at = start + size + 2
    return found


async def open_watchers(
    server: str, *, path: str, token: str, trust: ssl.SSLContext, number: int, last: str
) -> list[Watcher]:
    """So many watches of `path`, all answered, each of which ends with the object named `last`."""
    loop, address = asyncio.get_running_loop(), urlsplit(server)
    assert address.hostname is not None
    head = (
        f"GET {path}?watch=1&resourceVersion=0 HTTP/1.1",
        f"Host: {address.netloc}",
        f"Authorization: Bearer {token}",
    )
    request = "\r\n".join((*head, "", "")).encode()
    watchers = []
    for _ in range(number):
        _, watcher = await loop.create_connection(
            lambda: Watcher(request, last=f'"name":"{last}"'.encode()), address.hostname, address.port, ssl=trust
        )
        watchers.append(watcher)
    await asyncio.gather(*(watcher.answered for watcher in watchers))
    return watchers


def check_events(watcher: Watcher, *, names: set[str]) -> None:
    """Each of `names` was ADDED exactly once, and everything came in order of revision."""
    events = watcher.events()
    assert {event["type"] for event in events} == {"ADDED"}
    metadata = [event["object"]["metadata"] for event in events]
    seen = [each["name"] for each in metadata if each["name"] in names]
    assert len(seen) == len(names) == len(set(seen)), (len(seen), len(names))
    revisions = [int(each["resourceVersion"]) for each in metadata if each["name"] in names]
    assert revisions == sorted(set(revisions)), "out of order"
