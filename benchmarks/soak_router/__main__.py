"""`python -m benchmarks.soak_router [--seconds 300]`: an hour's worth of change in minutes, under open-loop load.

Replicas are killed, added and rolled, deployments replaced, keys rotated, routerd's Python killed, HAProxy killed, the
API server paused, in turn and without a rest. Every answer other than 2xx must be explained by the rule of lost
requests (`load`). For people on standard error, one line of JSON on standard output; 1 when anything is unexplained.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.router.processes import children
from benchmarks.soak_router.load import HAPROXY_KILLED, REPLICA_KILLED, UNEXPLAINED, Event, Load, describe
from benchmarks.soak_router.world import CONCURRENCY, World

_REPLICAS: Final = 3
_PAUSE_SECONDS: Final = 0.2  # between two events
_STOPPED_SECONDS: Final = 1.5  # how long the API server stands still


@dataclass
class Soak:
    """The events, and what was counted of them."""

    world: World
    load: Load
    events: list[Event] = field(default_factory=list)
    sent_to_killed: int = 0
    haproxy_back_ms: list[float] = field(default_factory=list)
    keys: int = 1

    @property
    def kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Every kind of event, in the order of one turn."""
        return {
            "replica_added": self.add_replica,
            REPLICA_KILLED: self.kill_replica,
            "replicas_rolled": self.roll_replicas,
            "deployment_replaced": self.replace_deployment,
            "keys_rotated": self.rotate_keys,
            "python_killed": self.kill_python,
            "api_server_paused": self.pause_api_server,
            HAPROXY_KILLED: self.kill_haproxy,
        }

    async def run(self, *, seconds: float) -> None:
        """One kind after the other until the time is over; each at least once."""
        end, turn = time.monotonic() + seconds, 0
        while time.monotonic() < end or turn == 0:
            for kind, act in self.kinds.items():
                if time.monotonic() >= end and turn:
                    return
                begin = time.monotonic()
                await act()
                self.events.append(Event(kind, begin, time.monotonic()))
                await asyncio.sleep(_PAUSE_SECONDS)
            turn += 1

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
            await leaving.stop()

    async def replace_deployment(self) -> None:
        await asyncio.gather(*(leaving.stop() for leaving in await self.world.deploy(_REPLICAS)))

    async def rotate_keys(self) -> None:
        self.keys += 1
        new = f"soak-key-{self.keys}"
        await self.world.set_keys({"primary": self.load.key, "secondary": new})
        self.load.key = new
        await asyncio.sleep(_PAUSE_SECONDS)  # what was sent with the old key is answered
        await self.world.set_keys({"primary": new})

    async def kill_python(self) -> None:
        self.world.kill(self.world.control_process())
        self.world.replicas.append(await self.world.new_replica())
        await self.world.publish()
        leaving = self.world.replicas.pop()
        await self.world.publish()
        await leaving.stop()

    async def pause_api_server(self) -> None:
        self.world.api_server.send_signal(signal.SIGSTOP)
        await asyncio.sleep(_STOPPED_SECONDS)
        self.world.api_server.send_signal(signal.SIGCONT)

    async def kill_haproxy(self) -> None:
        master, begin = self.world.haproxy_master(), time.monotonic()
        for pid in (*children(master), master):
            self.world.kill(pid)
        await self.world.until(self.world.answers)
        self.haproxy_back_ms.append(1000 * (time.monotonic() - begin))

    def report(self, *, seconds: float) -> dict[str, object]:
        """What the line of JSON says."""
        lost, unexplained = self.load.count(self.events)
        counted = Counter(event.kind for event in self.events)
        good = sorted(o.ended - o.sent for o in self.load.outcomes if o.good)
        return {
            "measurement": "soak-router",
            "seconds": round(seconds, 1),
            "requests": len(self.load.outcomes),
            "ok": len(good),
            "failed": {kind: count for kind, count in lost.items() if kind != UNEXPLAINED},
            "unexplained": len(unexplained),
            "unexplained_first": [describe(o, events=self.events) for o in unexplained[:10]],
            "answered_by_killed_replicas": self.sent_to_killed,
            "most_killed_replicas_may_lose": counted[REPLICA_KILLED] * CONCURRENCY,
            "haproxy_back_ms": round(max(self.haproxy_back_ms, default=0.0)),
            "p50_ms": round(1000 * good[len(good) // 2], 1) if good else None,
            "p99_ms": round(1000 * good[int(0.99 * len(good))], 1) if good else None,
            "events": dict(counted),
        }


async def soak(*, seconds: float, rate: float, folder: Path) -> dict[str, object]:
    """Start everything, soak it, end everything; the report."""
    world, stop = World(folder), asyncio.Event()
    try:
        await world.start(keys={"primary": "soak-key-1"}, replicas=_REPLICAS)
        load = Load(world.url, key="soak-key-1", rate=rate)
        running = Soak(world, load)
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(stop))
            await running.run(seconds=seconds)
            stop.set()
        return running.report(seconds=time.monotonic() - started)
    except BaseException:
        print((folder / "routerd.log").read_text()[-3000:], file=sys.stderr)
        raise
    finally:
        await world.stop()


def main() -> int:
    """1 when a request failed that nothing explains, or a killed replica took more with it than it may."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-router-") as name:
        report = asyncio.run(soak(seconds=given.seconds, rate=given.rate, folder=Path(name)))
    for key, value in report.items():
        print(f"  {key:<34}{value}", file=sys.stderr)
    print(json.dumps(report), flush=True)
    failed = report["failed"]
    assert isinstance(failed, dict)
    too_many = failed.get(REPLICA_KILLED, 0) > int(str(report["most_killed_replicas_may_lose"]))
    return 1 if report["unexplained"] or too_many else 0


if __name__ == "__main__":
    sys.exit(main())
