"""Several routers on loopback addresses of their own, each a real HAProxy with its reconciler."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import aiohttp
from lightkube.core.async_client import AsyncClient

from routerd.daemon import Daemon, Part
from routerd.haproxy.maps import HaproxyFiles
from routerd.haproxy.process import HaproxyProcess
from routerd.peers import Peer, Ring, rank
from routerd.routes import EndpointRoute
from routerd.settings import Settings
from tests.routerd.conftest import Router, eventually

SECRET = "what-all-routers-hold"
BLUE = ("team-a", "credit", "blue")
_numbers = itertools.count(1)


@dataclass
class Fleet:
    """Routers that know each other; `r1`, `r2`, ... by name."""

    settings: Settings
    routers: dict[str, Router] = field(default_factory=dict)
    daemons: dict[str, Daemon] = field(default_factory=dict)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def add(self, name: str, *parts: Part, **changes: object) -> Router:
        """Start a router that nobody knows yet."""
        number = next(_numbers)
        settings = replace(
            self.settings,
            run_dir=self.settings.run_dir.parent / name,
            bind=f"127.121.{number // 250}.{number % 250 + 1}",
            pod_name=name,
            **changes,  # type: ignore[arg-type]
        )
        found = await self.stack.enter_async_context(run_router(settings, parts=parts))
        self.routers[name], self.daemons[name] = found
        return found[0]

    def peer(self, name: str) -> Peer:
        return Peer(name=name, address=self.routers[name].settings.bind)

    def introduce(self, *names: str) -> None:
        """Tell every router that these are the ones that take requests."""
        members = tuple(self.peer(name) for name in sorted(names))
        for name, router in self.routers.items():
            router.reconciler.offer_ring(Ring(me=name, members=members))

    async def serve(self, *endpoints: EndpointRoute) -> None:
        """Bring a table into force on all routers."""
        for router in self.routers.values():
            await router.serve(*endpoints)

    async def until_met(self, *names: str) -> None:
        """Wait until each of these routers finds the others alive."""
        for name in names:
            others = {self.peer(other).address for other in names if other != name}
            await eventually(lambda router=self.routers[name], others=others: finds(router, others))

    def ranked(self, *names: str) -> list[Router]:
        """The routers in the order in which they should own the deployment blue."""
        return [self.routers[name] for name in rank(BLUE, names=tuple(sorted(names)))]


async def finds(router: Router, addresses: Iterable[str]) -> bool:
    """Whether a router's HAProxy finds these routers alive, and no others."""
    (text,) = await router.runtime.execute("show stat -1 4 9998")
    rows = [line.split(",") for line in text.splitlines() if line.startswith("peer")]
    return {row[73].rpartition(":")[0] for row in rows if row[17].startswith("UP")} == set(addresses)


@asynccontextmanager
async def run_router(
    settings: Settings, *, parts: Sequence[Part] = (), kube: AsyncClient | None = None
) -> AsyncIterator[tuple[Router, Daemon]]:
    """A HAProxy, and its control process as tasks of this one."""
    files = HaproxyFiles(settings)
    await asyncio.to_thread(files.prepare)
    process = HaproxyProcess(settings, files)
    process.start()
    await asyncio.to_thread(process.wait_ready, timeout_seconds=10)
    daemon = Daemon(settings, parts=parts, kube=kube)
    work = asyncio.create_task(daemon.run())
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            yield Router(settings, process, daemon.runtime, daemon.reconciler, session), daemon
        assert not work.done() or work.exception() is None
    finally:
        work.cancel()
        kill(process)
        process.close()


def kill(process: HaproxyProcess) -> None:
    """End a HAProxy at once, worker and all, as the end of its pod does."""
    process.send(signal.SIGTERM)
    if not process.wait_ended(timeout_seconds=5):
        process.send(signal.SIGKILL)
        process.wait_ended(timeout_seconds=5)
