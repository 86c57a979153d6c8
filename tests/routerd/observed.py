"""A daemon in this process: HAProxy, its reconciler and whatever control parts a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from lightkube.core.async_client import AsyncClient

from routerd.board import Board, board_of
from routerd.daemon import Daemon, Part
from routerd.haproxy.process import HaproxyProcess
from routerd.routes import EndpointRoute, RoutingTable
from routerd.settings import Settings
from tests.routerd.conftest import Router

Found = TypeVar("Found")


@dataclass
class Observed:
    """A running daemon, its board, and callers."""

    daemon: Daemon
    board: Board
    callers: Router

    async def serve(self, *endpoints: EndpointRoute) -> None:
        """Offer a table, and wait until it is in force."""
        self.daemon.reconciler.offer(RoutingTable(endpoints=endpoints))
        await self.callers.wait_for(lambda: self.daemon.in_force().keys() == {e.key for e in endpoints})


@asynccontextmanager
async def observe(
    settings: Settings, haproxy: HaproxyProcess, *parts: Part, kube: AsyncClient | None = None
) -> AsyncIterator[Observed]:
    """Run a daemon with these parts; what fails in it fails the test."""
    daemon = Daemon(settings, kube=kube, parts=parts)
    work = asyncio.create_task(daemon.run())
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        callers = Router(settings, haproxy, daemon.runtime, daemon.reconciler, session)
        yield Observed(daemon, board_of(daemon), callers)
    assert not work.done(), work.exception()
    work.cancel()
    await asyncio.wait([work])


async def until(look: Callable[[], Found | None], *, seconds: float = 10) -> Found:
    """Look again and again until there is something."""
    async with asyncio.timeout(seconds):
        while not (found := look()):  # noqa: ASYNC110 - what is looked at has no event of its own
            await asyncio.sleep(0.02)
    return found
