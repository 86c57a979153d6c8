"""A model that reads whole bodies of any size and answers: `python -m benchmarks.router.sink ADDRESS PORT...`."""

import asyncio
import re
import sys
from typing import Any, Final

import uvloop

_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class _Sink(asyncio.Protocol):
    """One connection: heads are read, bodies are only counted."""

    def __init__(self) -> None:
        self._head, self._left = b"", 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._count(len(data))
            return
        self._head += data
        head, end, body = self._head.partition(b"\r\n\r\n")
        if end:
            found = _LENGTH.search(head)
            self._head, self._left = b"", int(found[1]) if found else 0
            self._count(len(body))

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left <= 0:
            self._transport.write(_ANSWER)


async def main(address: str, *ports: str) -> None:
    """Serve until cancelled."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Sink, address, int(port)) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
