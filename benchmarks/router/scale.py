"""What a table of 1,000 endpoints with four replicas each costs, and how soon a change of it is in force.

Memory and idle CPU are those of `python -m routerd` as a whole. Times are taken inside a reconciler that has its own
HAProxy, from the moment it is offered a table until HAProxy was read back with it.
"""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.router.processes import RunningRouter, cpu_seconds, free_port, memory_mb
from routerd.contract import key_hash
from routerd.haproxy.maps import HaproxyFiles
from routerd.haproxy.process import HaproxyProcess
from routerd.haproxy.runtime import Runtime
from routerd.memory import leave_to_reference_counts
from routerd.objects_file import read_objects
from routerd.reconciler import Reconciler
from routerd.routes import EndpointRoute, Replica, RoutingTable
from routerd.settings import Settings

ENDPOINTS: Final = 1000
SLOTS: Final = "60000:1040"
_TRIES: Final = 5


def weigh(router: RunningRouter, *, seconds: float) -> tuple[float, float]:
    """(MB of all processes, percent of a core while nothing happens)."""
    pids = router.processes()
    before = sum(cpu_seconds(pid) for pid in pids)
    time.sleep(seconds)
    used = sum(cpu_seconds(pid) for pid in pids) - before
    return sum(memory_mb(pid) for pid in pids), 100 * used / seconds


async def time_changes(folder: Path, *, objects: Path) -> dict[str, float]:
    """Milliseconds until a change is in force (the slowest of five each), and until the first table is."""
    settings = Settings(
        run_dir=folder / "scale", inference_port=free_port(), admin_port=free_port(), slots={60000: 1040}
    )
    files = HaproxyFiles(settings)
    files.prepare()
    process = HaproxyProcess(settings, files)
    process.start()
    work: asyncio.Task[None] | None = None
    try:
        process.wait_ready(timeout_seconds=10)
        reconciler = Reconciler(settings, files=files, runtime=Runtime(settings.admin_socket))
        work = asyncio.create_task(reconciler.run())
        return await _time_changes(reconciler, table=read_objects(objects))
    finally:
        if work is not None:
            work.cancel()
        from signal import SIGTERM

        process.send(SIGTERM)
        process.wait_ended(timeout_seconds=10)
        process.close()


async def _time_changes(reconciler: Reconciler, *, table: RoutingTable) -> dict[str, float]:
    found = {"first_table_ms": await _in_force(reconciler, table=table, key=table.endpoints[-1].key, generation=1)}
    leave_to_reference_counts()  # as the daemon does then
    chosen, generation = table.endpoints[len(table.endpoints) // 2], 1
    slowest: dict[str, float] = {}
    for _ in range(_TRIES):
        for kind in ("replica_in_force_ms", "key_in_force_ms"):
            generation += 1
            chosen = replace(_changed(chosen, kind=kind, generation=generation), generation=generation)
            table = _with(table, endpoint=chosen)
            took = await _in_force(reconciler, table=table, key=chosen.key, generation=generation)
            slowest[kind] = max(slowest.get(kind, 0.0), took)
    for number in range(_TRIES):
        new = replace(chosen, name=f"new-{number}", uid=f"uid-new-{number}", generation=1)
        table = RoutingTable(endpoints=(*table.endpoints, new))
        took = await _in_force(reconciler, table=table, key=new.key, generation=1)
        slowest["endpoint_in_force_ms"] = max(slowest.get("endpoint_in_force_ms", 0.0), took)
    return found | slowest


def _changed(endpoint: EndpointRoute, *, kind: str, generation: int) -> EndpointRoute:
    if kind == "key_in_force_ms":
        return replace(endpoint, keys=(("primary", key_hash(f"key-{generation}")),), key_revision=generation)
    (deployment,) = endpoint.deployments
    first, *others = deployment.replicas
    moved = Replica(name=f"replica-{generation}", address=first.address, port=20_000 + generation)
    return replace(endpoint, deployments=(replace(deployment, replicas=(*others, moved)),))


def _with(table: RoutingTable, *, endpoint: EndpointRoute) -> RoutingTable:
    return RoutingTable(endpoints=tuple(endpoint if e.key == endpoint.key else e for e in table.endpoints))


async def _in_force(reconciler: Reconciler, *, table: RoutingTable, key: str, generation: int) -> float:
    await asyncio.sleep(0.6)  # between two looks of the reconciler, as a change arrives in life
    start, seen = time.perf_counter(), 0
    reconciler.offer(table)
    async with asyncio.timeout(60):
        while (state := reconciler.in_force().get(key)) is None or state.generation != generation:
            seen = await reconciler.wait_change(seen=seen)
    return 1000 * (time.perf_counter() - start)
