"""Models that take one request at a time, under an open loop: arrivals come when they come, not when answers do.

Eight replicas of 10 ms at 90 % of what they can do, which is measured first: on a busy machine 10 ms become 12, and
90 % of a reckoned capacity would be an overload. The models run in a process of their own and count every request that
came while another was at work. The same arrivals in a line without any cost of its own say what no router could better:
with these it is 2.47, over many hours of other arrivals 2.9.
"""

import asyncio
import heapq
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.router.objects import KEY
from benchmarks.router.processes import free_port

REPLICAS: Final = 8
WORK_SECONDS: Final = 0.010
LOAD: Final = 0.9
_ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def serve_models(ports: Sequence[int]) -> None:
    """Serve until standard input ends, then print {"requests", "overlaps"}."""
    requests = overlaps = 0

    def handler() -> "asyncio.Protocol":
        return _Model(busy=set())

    class _Model(asyncio.Protocol):
        def __init__(self, *, busy: set[object]) -> None:
            self._busy = busy
            self._data = b""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport
            self._replica = transport.get_extra_info("sockname")[1]

        def data_received(self, data: bytes) -> None:
            nonlocal requests, overlaps
            self._data += data
            if not self._data.endswith(b"\r\n\r\nx"):
                return
            self._data = b""
            requests += 1
            overlaps += at_work[self._replica] > 0
            at_work[self._replica] += 1
            loop.call_later(WORK_SECONDS, self._answer)

        def _answer(self) -> None:
            at_work[self._replica] -= 1
            self._transport.write(_ANSWER)  # type: ignore[attr-defined]

    loop = asyncio.get_running_loop()
    at_work = dict.fromkeys(ports, 0)
    for port in ports:
        await loop.create_server(handler, "127.0.0.1", port)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(json.dumps({"requests": requests, "overlaps": overlaps}), flush=True)


@contextmanager
def model_servers() -> Iterator[tuple[list[int], "subprocess.Popen[str]"]]:
    """The models' ports and their process, whose standard input ends them."""
    ports = [free_port() for _ in range(REPLICAS)]
    command = [sys.executable, "-m", "benchmarks.router.one_at_a_time", *map(str, ports)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError("the models did not start: see what they said above")
        yield ports, process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def capacity(ports: Sequence[int], *, seconds: float) -> float:
    """Requests a second that the replicas answer when each is asked again as soon as it has answered."""
    end, answered = time.perf_counter() + seconds, 0

    async def ask(port: int) -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            await reader.readexactly(len(_ANSWER))
            answered += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*map(ask, ports))
    return answered / (time.perf_counter() - began)


def arrivals(rate: float, *, seconds: float) -> Iterator[float]:
    """When requests come, in seconds from the start: so many a second on average, the same in every run."""
    dice, at = random.Random(1), 0.0
    while at < seconds:
        yield at
        at += dice.expovariate(rate)


def ideal_latencies(replicas_do: float, *, seconds: float) -> list[float]:
    """Milliseconds of the same requests in one first-come-first-served line that costs nothing."""
    work, free, latencies = REPLICAS / replicas_do, [0.0] * REPLICAS, []
    for at in arrivals(LOAD * replicas_do, seconds=seconds):
        done = max(at, heapq.heappop(free)) + work
        heapq.heappush(free, done)
        latencies.append(1000 * (done - at))
    return latencies


async def open_loop(port: int, *, path: str, replicas_do: float, seconds: float) -> tuple[list[float], int]:
    """Poisson arrivals at 90 % of what the replicas do in a second: (latencies in ms, answers other than 200)."""
    rate = LOAD * replicas_do
    request = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: 1\r\n\r\nx".encode()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    latencies: list[float] = []
    bad = 0

    async def one(due: float) -> None:
        nonlocal bad
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        latencies.append(1000 * (time.perf_counter() - due))
        bad += b" 200 " not in head[:16]
        idle.append((reader, writer))

    start = time.perf_counter() + 0.1
    async with asyncio.TaskGroup() as group:
        for arrival in arrivals(rate, seconds=seconds):
            await asyncio.sleep(max(0.0, start + arrival - time.perf_counter()))
            group.create_task(one(start + arrival))
    for _, writer in idle:
        writer.close()
    return latencies, bad


@dataclass(frozen=True)
class OpenLoop:
    """One run: the requests a second that were possible, and the latencies of nine tenths of that."""

    capacity_rps: float
    p50_ms: float
    p99_ms: float
    ideal_p50_ms: float
    ideal_p99_ms: float
    not_200: int

    @property
    def p99_over_p50(self) -> float:
        """How much longer the unlucky ones wait."""
        return self.p99_ms / self.p50_ms


def measure(port: int, *, ports: Sequence[int], seconds: float) -> OpenLoop:
    """What the models at `ports` can do, and then an open loop through the router at `port`."""
    can = asyncio.run(capacity(ports, seconds=min(2.0, seconds)))
    path = "/api/v1/endpoint/one/score"
    latencies, bad = asyncio.run(open_loop(port, path=path, replicas_do=can, seconds=seconds))
    ideal = ideal_latencies(can, seconds=seconds)
    p50, p99, best50, best99 = (
        round(quantile(values, share=share), 2) for values in (latencies, ideal) for share in (0.5, 0.99)
    )
    return OpenLoop(round(can), p50, p99, best50, best99, bad)


def quantile(values: Sequence[float], *, share: float) -> float:
    """The value below which this share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def ended(process: "subprocess.Popen[str]") -> dict[str, int]:
    """End the models; what they counted."""
    output, _ = process.communicate(timeout=20)
    counted: dict[str, int] = json.loads(output)
    return counted


def objects_path(folder: Path) -> Path:
    """Where the objects of this measurement lie."""
    return folder / "one-at-a-time.json"


if __name__ == "__main__":
    asyncio.run(serve_models([int(port) for port in sys.argv[1:]]))
