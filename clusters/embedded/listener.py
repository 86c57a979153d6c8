"""One address the relay listens on, and the connections it carries: bytes and nothing else.

    client <-> _Inbound <-> _Outbound <-> pod

All inference traffic of the embedded mode goes through here, so it is two protocols that write into each other's
transport and nothing else. Each pauses the other's reading while its own buffer is full; an end of stream is passed
on as a half-close; a broken side breaks the other. With no endpoint a connection is reset, as kube-proxy rejects it.
"""

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Sequence
from typing import Final, cast

Address = tuple[str, int]
_CONNECT_SECONDS: Final = 5.0
_BACKLOG: Final = 1024
_EARLY_LIMIT: Final = 64 * 1024
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time: close with a reset


class Route:
    """The endpoints of one port of one Service, taken in turn."""

    def __init__(self) -> None:
        self._endpoints: tuple[Address, ...] = ()
        self._turn = itertools.count()

    def set(self, endpoints: Sequence[Address]) -> None:
        self._endpoints = tuple(endpoints)

    def in_turn(self) -> list[Address]:
        """All endpoints, beginning with whose turn it is."""
        known = self._endpoints
        if not known:
            return []
        first = next(self._turn) % len(known)
        return [*known[first:], *known[:first]]


class _Side(asyncio.Protocol):
    """One half of a relayed connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.ended = False  # nothing more will be read here
        self.full = False  # more is buffered for this side than it takes: whoever fills it waits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is not None and other.transport is not None:
            other.transport.write(data)

    def eof_received(self) -> bool:
        self.ended = True
        if self.other is not None:
            self.other.end_writing()
        return True  # the other direction may go on

    def end_writing(self) -> None:
        """The far side has said all: pass that on; when both have, this is over."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self.ended:
            transport.close()  # writes out what is still buffered
            if self.other is not None and self.other.transport is not None:
                self.other.transport.close()
        else:
            with contextlib.suppress(OSError, RuntimeError):
                transport.write_eof()

    def pause_writing(self) -> None:
        self.full = True
        if self.other is not None and self.other.transport is not None and not self.other.ended:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.full = False
        if self.other is not None and self.other.transport is not None and not self.other.ended:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        other, self.other = self.other, None
        if other is None or other.transport is None or other.transport.is_closing():
            return
        if error is None:
            other.transport.close()
        else:
            reset(other.transport)


class _Outbound(_Side):
    def __init__(self, inbound: "_Inbound") -> None:
        super().__init__()
        self._inbound = inbound

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._inbound.join(self)


class _Inbound(_Side):
    """The client's half. What it says before a pod has answered is kept; more than a little makes it wait.

    Kept, not paused from the start: uvloop still delivers what it read in the turn in which reading was paused.
    """

    def __init__(self, route: Route, tasks: set["asyncio.Task[None]"]) -> None:
        super().__init__()
        self._route = route
        self._tasks = tasks
        self._early: list[bytes] = []
        self._early_size = 0
        self._paused = False
        self._gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is not None and other.transport is not None:
            other.transport.write(data)
            return
        self._early.append(data)
        self._early_size += len(data)
        if self._early_size > _EARLY_LIMIT and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def join(self, outbound: _Outbound) -> None:
        """The pod answered: let the bytes flow."""
        pod, client = outbound.transport, self.transport
        assert pod is not None  # noqa: S101 - it has just been made
        if self._gone or client is None or client.is_closing():
            pod.close()
            return
        self.other, outbound.other = outbound, self
        if self._early:
            pod.write(b"".join(self._early))
            self._early.clear()
        if self.ended:
            outbound.end_writing()
        elif self._paused and not outbound.full:  # else the pod's side resumes it
            client.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        super().connection_lost(error)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        for host, port in self._route.in_turn():
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await loop.create_connection(lambda: _Outbound(self), host, port)
            except (OSError, TimeoutError):
                continue
            return
        if self.transport is not None:
            reset(self.transport)


def reset(transport: asyncio.Transport) -> None:
    """Close at once, so that the other end hears of an error, not of an end."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Listener:
    """One listening address."""

    def __init__(self, address: Address) -> None:
        """Raises OSError when the address is taken."""
        self.address = address
        self.route = Route()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind(address)
            self._socket.listen(_BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self._connecting: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closed = False
        self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Inbound(self.route, self._connecting), sock=self._socket, backlog=_BACKLOG
        )
        self._server = server
        if self._closed:
            server.close()

    def close(self) -> None:
        """Take no more connections; those that are open go on."""
        self._closed = True
        if self._server is not None:
            self._server.close()
