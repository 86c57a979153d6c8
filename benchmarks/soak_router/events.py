"""Everything that is done to the routers, one kind after the other."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from benchmarks.soak_router.authority import Authority, trusting
from benchmarks.soak_router.load import Load
from benchmarks.soak_router.models import Replica
from benchmarks.soak_router.routers import Router, kill
from benchmarks.soak_router.rule import HAPROXY_KILLED, REPLICA_KILLED, ROUTER_KILLED, Event, Killed
from benchmarks.soak_router.world import World

REPLICAS: Final = 3
ROUTERS: Final = 3
_PAUSE_SECONDS: Final = 0.1  # between two events
_STOPPED_SECONDS: Final = 1.0  # how long the API server stands still


@dataclass
class Soak:
    """The events, and what was counted of them."""

    world: World
    load: Load
    events: list[Event] = field(default_factory=list)
    sent_to_killed: int = 0
    haproxy_back_ms: list[float] = field(default_factory=list)
    keys: int = 1
    turn: int = 0

    @property
    def kinds(self) -> dict[str, Callable[[], Awaitable[Killed | None]]]:
        """Every kind of event, in the order of one turn: it begins and ends with one router."""
        return {
            "replica_added": self.add_replica,
            "replicas_rolled": self.roll_replicas,
            "router_added": self.add_routers,
            REPLICA_KILLED: self.kill_replica,
            "certificate_swapped": self.swap_certificate,
            "deployment_replaced": self.replace_deployment,
            "keys_rotated": self.rotate_keys,
            "router_removed": self.remove_router,
            "python_killed": self.kill_python,
            "api_server_paused": self.pause_api_server,
            HAPROXY_KILLED: self.kill_haproxy,
            ROUTER_KILLED: self.kill_router,
        }

    async def run(self, *, seconds: float) -> None:
        """One kind after the other until the time is over; each at least once."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as self._group:
            while time.monotonic() < end or self.turn == 0:
                await self.world.prepare_routers(ROUTERS - len(self.world.routers))
                for kind, act in self.kinds.items():
                    if time.monotonic() >= end and self.turn:
                        return
                    begin = time.monotonic()
                    killed = await act()
                    self.events.append(Event(kind, begin, time.monotonic(), killed))
                    await asyncio.sleep(_PAUSE_SECONDS)
                self.turn += 1

    def _struck(self) -> Router:
        """The router something is done to: in every second turn the one in whose line all requests stand."""
        return self.world.ranked()[0 if self.turn % 2 == 0 else -1]

    def _end(self, replicas: Iterable[Replica]) -> None:
        """Let them end in their own time, as Kubernetes does."""
        for replica in replicas:
            self._group.create_task(replica.stop())

    async def add_routers(self) -> None:
        while len(self.world.routers) < ROUTERS:
            await self.world.add_router()

    async def remove_router(self) -> None:
        await self.world.remove_router(self._struck())

    async def kill_router(self) -> Killed:
        struck = self._struck()
        owner = struck is self.world.ranked()[0]
        return Killed(struck.address, await self.world.kill_router(struck), owner)

    async def swap_certificate(self) -> None:
        before, after = self.world.authority, Authority(self.world.authority.number + 1)
        self.load.trust = trusting(before, after)
        await self.load.answered()
        await self.world.use_certificate(after)
        self.load.trust = trusting(after)

    async def add_replica(self) -> None:
        self.world.replicas.append(await self.world.new_replica())
        await self.world.publish()

    async def kill_replica(self) -> None:
        killed = self.world.replicas.pop(0)
        self.sent_to_killed += len(killed.kill())
        await asyncio.sleep(_PAUSE_SECONDS)  # Kubernetes hears of it later than HAProxy
        await self.world.publish()

    async def roll_replicas(self) -> None:
        for _ in range(len(self.world.replicas)):
            self.world.replicas.append(await self.world.new_replica())
            await self.world.publish()
            leaving = self.world.replicas.pop(0)
            await self.world.publish()
            self._end([leaving])

    async def replace_deployment(self) -> None:
        self._end(await self.world.deploy(REPLICAS))

    async def rotate_keys(self) -> None:
        self.keys += 1
        new = f"soak-key-{self.keys}"
        await self.world.set_keys({"primary": self.load.key, "secondary": new})
        self.load.key = new
        await self.load.answered()  # what was sent with the old key
        await self.world.set_keys({"primary": new})

    async def kill_python(self) -> None:
        await kill(self._struck().control_process())
        self.world.replicas.append(await self.world.new_replica())
        await self.world.publish()
        leaving = self.world.replicas.pop()
        await self.world.publish()
        self._end([leaving])

    async def pause_api_server(self) -> None:
        self.world.api_server.send_signal(signal.SIGSTOP)
        await asyncio.sleep(_STOPPED_SECONDS)
        self.world.api_server.send_signal(signal.SIGCONT)

    async def kill_haproxy(self) -> Killed:
        struck, begin = self._struck(), time.monotonic()
        owner = struck is self.world.ranked()[0]
        await kill(*struck.haproxy())
        gone = time.monotonic()
        await self.world.until(struck.answers)
        self.haproxy_back_ms.append(1000 * (time.monotonic() - begin))
        return Killed(struck.address, gone, owner)
