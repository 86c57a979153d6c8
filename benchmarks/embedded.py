"""The embedded cluster under 5,000 pods: `make bench-embedded` prints one line of JSON.

ready_seconds          from the start of the process until it serves
pods, create_seconds   pods made over the API (a fake kubelet says that they run), 32 at a time, until all run
list_seconds           one list of all of them, read to its end
watch_events_per_second  changes to one ConfigMap after another, each seen by all of 50 watchers: changes a second
watch_deliveries_per_second  the same, counted at the watchers
watch_server_cpu_ms, watch_client_cpu_ms  of the cluster and of this process for one such change
rss_mb, idle_cpu_percent  of the process, with the pods there and nothing happening, over ten seconds
relay_ratio            requests a second through a Service's ClusterIP, by those straight to the pod
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from benchmarks.watchers import Watcher, check_events, open_watchers
from clusters.embedded.listener import Listener

ROOT = Path(__file__).resolve().parents[1]
PODS, WATCHERS, CHANGES = 5_000, 50, 2_000
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
_TICKS = os.sysconf("SC_CLK_TCK")


def pod(number: int) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "command": ["sleep"], "env": [{"name": "A", "value": "b"}]}
    return {"metadata": {"name": f"pod-{number:05d}", "labels": {"app": "bench"}}, "spec": {"containers": [container]}}


async def create_pods(session: aiohttp.ClientSession) -> float:
    began, numbers = time.monotonic(), iter(range(PODS))

    async def some() -> None:
        for number in numbers:
            async with session.post("/api/v1/namespaces/default/pods", json=pod(number)) as answer:
                assert answer.status == 201, await answer.text()

    await asyncio.gather(*(some() for _ in range(32)))
    query = {"fieldSelector": "status.phase=Running", "limit": "1"}
    while True:
        async with session.get("/api/v1/namespaces/default/pods", params=query) as answer:
            left = (await answer.json())["metadata"].get("remainingItemCount") or 0
        if left + 1 >= PODS or await running(session) == PODS:
            return time.monotonic() - began
        await asyncio.sleep(0.5)


async def running(session: aiohttp.ClientSession) -> int:
    async with session.get("/api/v1/pods", params={"fieldSelector": "status.phase=Running"}) as answer:
        return len((await answer.json())["items"])


async def list_pods(session: aiohttp.ClientSession) -> float:
    best = 60.0
    for _ in range(3):
        began = time.monotonic()
        async with session.get("/api/v1/pods") as answer:
            body = await answer.read()
        best = min(best, time.monotonic() - began)
    assert len(json.loads(body)["items"]) == PODS
    return best


@dataclass(frozen=True)
class Watched:
    seconds: float  # from the first change until the last watcher has seen the last one
    server_cpu: float  # seconds
    client_cpu: float


async def watch(session: aiohttp.ClientSession, *, watchers: list[Watcher], pid: int) -> Watched:
    began, server, client = time.monotonic(), cpu_seconds(pid), time.process_time()
    await make_changes(session)
    await asyncio.gather(*(watcher.ended for watcher in watchers))
    seconds = time.monotonic() - began
    watched = Watched(seconds, cpu_seconds(pid) - server, time.process_time() - client)
    names = {f"change-{number}" for number in range(CHANGES)}
    for watcher in watchers:
        check_events(watcher, names=names)
        watcher.transport.close()
    return watched


async def make_changes(session: aiohttp.ClientSession) -> None:
    """By 16 clients at a time; the last one alone, after all others."""
    numbers = iter(range(CHANGES - 1))

    async def change() -> None:
        for number in numbers:
            await make(number)

    async def make(number: int) -> None:
        async with session.post(CONFIG_MAPS, json={"metadata": {"name": f"change-{number}"}}) as answer:
            assert answer.status == 201

    await asyncio.gather(*(change() for _ in range(16)))
    await make(CHANGES - 1)


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def idle_cpu(pid: int, *, seconds: float = 10.0) -> float:
    await asyncio.sleep(3)
    before = cpu_seconds(pid)
    await asyncio.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / seconds


async def relay_ratio() -> float:
    """Through the relay by straight, both ways to an echo, all in this process."""
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    straight = server.sockets[0].getsockname()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        relayed = probe.getsockname()
    listener = Listener(relayed)
    listener.route.set([straight])
    await asyncio.sleep(0.1)
    direct = await _requests(straight)
    ratio = await _requests(relayed) / direct
    listener.close()
    server.close()
    return ratio


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def _requests(address: tuple[str, int], *, seconds: float = 2.0) -> float:
    done, end = 0, time.monotonic() + seconds

    async def call() -> None:
        nonlocal done
        reader, writer = await asyncio.open_connection(*address)
        while time.monotonic() < end:
            writer.write(b"x" * 1000)
            await reader.readexactly(1000)
            done += 1
        writer.close()

    await asyncio.gather(*(call() for _ in range(16)))
    return done / seconds


async def measure(data: Path) -> dict[str, float]:
    ratio = await relay_ratio()
    arguments = ("--data", str(data), "--fake-kubelet", "--node", f"local,pods={2 * PODS}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clusters.embedded", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        trust = ssl.create_default_context(cafile=str(data / "tls" / "ca.crt"))
        token = (data / "token").read_text().strip()
        connector = aiohttp.TCPConnector(ssl=trust, limit=200)
        headers, timeout = {"Authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(total=300)
        async with aiohttp.ClientSession(
            ready["server"], headers=headers, connector=connector, timeout=timeout, read_bufsize=1 << 20
        ) as session:
            created = await create_pods(session)
            listed = await list_pods(session)
            watchers = await open_watchers(
                ready["server"],
                path=CONFIG_MAPS,
                token=token,
                trust=trust,
                number=WATCHERS,
                last=f"change-{CHANGES - 1}",
            )
            watched = await watch(session, watchers=watchers, pid=process.pid)
            idle = await idle_cpu(process.pid)
        return {
            "ready_seconds": ready["seconds"],
            "pods": PODS,
            "create_seconds": round(created, 1),
            "list_seconds": round(listed, 3),
            "watchers": WATCHERS,
            "watch_events_per_second": round(CHANGES / watched.seconds),
            "watch_deliveries_per_second": round(CHANGES * WATCHERS / watched.seconds),
            "watch_server_cpu_ms": round(1000 * watched.server_cpu / CHANGES, 2),
            "watch_client_cpu_ms": round(1000 * watched.client_cpu / CHANGES, 2),
            "rss_mb": round(rss_mb(process.pid)),
            "idle_cpu_percent": round(idle, 1),
            "relay_ratio": round(ratio, 2),
        }
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as home:
        print(json.dumps(uvloop.run(measure(Path(home) / "data"))))


if __name__ == "__main__":
    main()
