"""Open-loop callers of the routers' Service, and what became of each request.

A Service gives each new connection to one of the routers that are ready; a connection that is kept stays where it is,
also while its router leaves. Three in four requests go on kept connections of plain HTTP, the others by TLS on a new
connection each, so that every moment of a change of certificates is seen.
"""

import asyncio
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import Connection

from benchmarks.soak_router.authority import HOST
from benchmarks.soak_router.rule import UNEXPLAINED, Event, Outcome, explain
from routerd import contract

_SECONDS: Final = 60.0
_TLS_EVERY: Final = 4
_dice = random.Random(7)


@dataclass
class Way:
    """To which router's address a request goes."""

    address: str = ""


_way: ContextVar[Way] = ContextVar("way")


@dataclass
class Service(AbstractResolver):
    """The addresses of the routers that are ready, all with the same ports."""

    http_port: int
    tls_port: int
    ready: set[str] = field(default_factory=set)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 all are IPv4
    ) -> list[ResolveResult]:
        """One of them, by chance."""
        address = _dice.choice(sorted(self.ready))
        _way.get().address = address
        return [ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing to close."""

    def url(self, *, tls: bool) -> str:
        """Where callers send requests."""
        base = f"https://{HOST}:{self.tls_port}" if tls else f"http://{HOST}:{self.http_port}"
        return f"{base}{contract.ENDPOINT_PATH}credit/score"


class Connector(aiohttp.TCPConnector):
    """Connections that tell where they lead."""

    async def connect(self, *given: Any, **named: Any) -> Connection:
        """A kept connection or a new one."""
        connection = await super().connect(*given, **named)
        if connection.transport is not None and (peer := connection.transport.get_extra_info("peername")):
            _way.get().address = peer[0]
        return connection


@dataclass
class Load:
    """Requests at a steady rate, whatever becomes of those before."""

    service: Service
    key: str
    trust: ssl.SSLContext
    rate: float
    outcomes: list[Outcome] = field(default_factory=list)
    _calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for the last answers."""
        number, due = 0, time.monotonic()
        async with AsyncExitStack() as stack:
            plain = await stack.enter_async_context(self._session(keep=True))
            fresh = await stack.enter_async_context(self._session(keep=False))
            while not stop.is_set():
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tls = number % _TLS_EVERY == 0
                call = asyncio.create_task(self._call(fresh if tls else plain, number=number, tls=tls))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
                number, due = number + 1, due + _dice.expovariate(self.rate)
            await asyncio.gather(*self._calls)

    def _session(self, *, keep: bool) -> aiohttp.ClientSession:
        connector = Connector(limit=0, resolver=self.service, use_dns_cache=False, force_close=not keep)
        return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=_SECONDS))

    async def answered(self) -> None:
        """Wait until every request sent before now has ended."""
        if self._calls:
            await asyncio.wait(set(self._calls))

    async def _call(self, session: aiohttp.ClientSession, *, number: int, tls: bool) -> None:
        sent, status, reason, way = time.monotonic(), 0, "", Way()
        _way.set(way)
        url, headers = f"{self.service.url(tls=tls)}?n={number}", {"authorization": f"Bearer {self.key}"}
        try:
            async with session.post(url, data=b"{}", headers=headers, ssl=self.trust) as answer:
                await answer.read()
                status, reason = answer.status, answer.headers.get("x-slipway-reason", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        self.outcomes.append(Outcome(number, sent, time.monotonic(), status, reason, way.address, tls))

    def count(self, events: Iterable[Event]) -> tuple[Counter[str], list[Outcome]]:
        """(failed requests by explanation, those without one)."""
        known = list(events)
        told = [(explain(o, events=known), o) for o in self.outcomes if not o.good]
        return Counter(why for why, _ in told), [o for why, o in told if why == UNEXPLAINED]
