"""Replicas that can be killed: each on a loopback address of its own, all in this process."""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Final

WORK_SECONDS: Final = 0.05
QUIET_SECONDS: Final = 1.0
_NUMBER: Final = re.compile(rb"^POST /score\?n=(\d+) ")


@dataclass
class Replica:
    """One model server; `answering` are the numbers of the requests it is at work on."""

    name: str
    address: str
    port: int
    answering: set[int] = field(default_factory=set)
    _last_request: float = field(default_factory=time.monotonic)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, self.address, self.port)

    async def stop(self) -> None:
        """End as a container does that is given its time.

        Kubernetes takes it out of rotation while it ends, so it goes on serving until nothing has come for a while
        (its preStop sleep), and then finishes what it has.
        """
        assert self._server is not None
        while self.answering or time.monotonic() - self._last_request < QUIET_SECONDS:  # noqa: ASYNC110 no event for it
            await asyncio.sleep(0.02)
        self._server.close()
        self._close()

    def kill(self) -> set[int]:
        """End as a process does that is killed; the numbers of the requests it was answering."""
        assert self._server is not None
        self._server.close()
        lost = set(self.answering)
        self._close()
        return lost

    def _close(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self._last_request = time.monotonic()
        length = re.search(rb"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        found = _NUMBER.match(head)
        number = int(found[1]) if found else -1
        self.answering.add(number)
        try:
            await asyncio.sleep(WORK_SECONDS)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
        finally:
            self.answering.discard(number)
