"""`python -m benchmarks.soak_router [--seconds 300]`: an hour's worth of change in minutes, under open-loop load.

Replicas are killed, added and rolled, deployments replaced, keys rotated, certificates swapped, routers added, removed
and killed, one's Python or HAProxy killed, the API server paused, in turn and without a rest. Every answer other than
2xx must be explained by the rule of lost requests (`rule`). For people on standard error, one line of JSON on standard
output; 1 when anything is unexplained.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.soak_router.authority import trusting
from benchmarks.soak_router.events import REPLICAS, Soak
from benchmarks.soak_router.load import Load
from benchmarks.soak_router.rule import REPLICA_KILLED, UNEXPLAINED, describe
from benchmarks.soak_router.world import CONCURRENCY, World


def report(ended: Soak, *, seconds: float) -> dict[str, object]:
    """What the line of JSON says."""
    outcomes, events = ended.load.outcomes, ended.events
    lost, unexplained = ended.load.count(events)
    counted = Counter(event.kind for event in events)
    good = sorted(o.ended - o.sent for o in outcomes if o.good)
    return {
        "measurement": "soak-router",
        "seconds": round(seconds, 1),
        "requests": len(outcomes),
        "ok": len(good),
        "ok_by_tls": sum(o.tls for o in outcomes if o.good),
        "routers_that_answered": len({o.through for o in outcomes if o.good}),
        "failed": {kind: count for kind, count in lost.items() if kind != UNEXPLAINED},
        "unexplained": len(unexplained),
        "unexplained_first": [describe(o, events=events) for o in unexplained[:10]],
        "answered_by_killed_replicas": ended.sent_to_killed,
        "most_killed_replicas_may_lose": counted[REPLICA_KILLED] * CONCURRENCY,
        "haproxy_back_ms": round(max(ended.haproxy_back_ms, default=0.0)),
        "p50_ms": round(1000 * good[len(good) // 2], 1) if good else None,
        "p99_ms": round(1000 * good[int(0.99 * len(good))], 1) if good else None,
        "events": dict(counted),
    }


async def soak(*, seconds: float, rate: float, folder: Path) -> dict[str, object]:
    """Start everything, soak it, end everything; the report."""
    world, stop = World(folder), asyncio.Event()
    try:
        await world.start(keys={"primary": "soak-key-1"}, replicas=REPLICAS)
        load = Load(world.service, key="soak-key-1", trust=trusting(world.authority), rate=rate)
        running = Soak(world, load)
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(stop))
            await running.run(seconds=seconds)
            stop.set()
        return report(running, seconds=time.monotonic() - started)
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
        printed = asyncio.run(soak(seconds=given.seconds, rate=given.rate, folder=Path(name)))
    for key, value in printed.items():
        print(f"  {key:<34}{value}", file=sys.stderr)
    print(json.dumps(printed), flush=True)
    failed = printed["failed"]
    assert isinstance(failed, dict)
    too_many = failed.get(REPLICA_KILLED, 0) > int(str(printed["most_killed_replicas_may_lose"]))
    return 1 if printed["unexplained"] or too_many else 0


if __name__ == "__main__":
    sys.exit(main())
