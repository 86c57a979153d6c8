"""`python -m benchmarks.router`: a table on standard error, one line of JSON per measurement on standard output.

The last line holds the figures the project holds itself to. Needs wrk; nginx is measured where it is installed.
`--quick` makes every run short, to see that all of it works.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import httpx

from benchmarks.router import objects, one_at_a_time, processes, scale, throughput, ways

ADDRESS: Final = "127.123.0.1"
SINK_ADDRESS: Final = "127.123.2.1"
_BODIES: Final = {100_000: 64, 1_000_000: 16, 50_000_000: 4}  # bytes -> connections
_LIMITS: Final = {
    "router_over_bare": ("at least", 0.7),
    "added_p50_ms": ("at most", 1.0),
    "added_p99_ms": ("at most", 3.0),
    "c1_p99_over_p50": ("at most", 2.5),
    "c1_overlaps": ("at most", 0),
    "rss_mb_1000x4": ("at most", 200),
    "idle_cpu_percent_1000x4": ("at most", 5.0),
    "replica_in_force_ms": ("at most", 100),
    "endpoint_in_force_ms": ("at most", 300),
    "cold_start_seconds": ("at most", 3.0),
    "key_in_force_ms": ("at most", 1000),
}

Figures = dict[str, float]


def say(text: str) -> None:
    """One line for people."""
    print(text, file=sys.stderr, flush=True)


def tell(measurement: str, **figures: object) -> None:
    """One line for programs."""
    print(json.dumps({"measurement": measurement, **figures}), flush=True)


def measure_throughput(folder: Path, *, quick: bool) -> Figures:
    """Alternating runs against direct, bare, nginx and routerd: at full speed, at half load, with larger bodies."""
    items = objects.split_endpoint(address=ADDRESS)
    path = objects.write(folder / "split.json", items=items)
    with (
        processes.models(folder, addresses=(ADDRESS,)) as direct,
        processes.bare_haproxy(folder, address=ADDRESS) as bare,
        processes.nginx(folder, address=ADDRESS) as nginx,
        processes.router(folder, objects=path, slots="60000:8") as router,
    ):
        ours = router.subject(endpoint="credit")
        subjects = [direct, *([nginx] if nginx else []), bare, ours]
        # Many short rounds: a shared machine changes its speed by half within a minute, and pauses for milliseconds.
        rounds = 1 if quick else 24
        runs = throughput.alternate(subjects, folder=folder, rounds=rounds, seconds=1)
        _report("1 KB, 64 connections", runs)
        by_time, by_cpu = throughput.ratio(runs, over="bare")
        figures = {
            "router_over_bare": round(min(by_time, by_cpu), 3),
            "router_over_bare_by_time": round(by_time, 3),
            "router_over_bare_by_cpu": round(by_cpu, 3),
            "cpu_us_per_request": round(throughput.median(runs["routerd"], of="cpu_us"), 1),
        }
        if nginx:
            figures["router_over_nginx"] = round(min(throughput.ratio(runs, over="nginx")), 3)
        pause = max(1, round(2 * 64_000 / throughput.median(runs["routerd"], of="rps")))
        runs = throughput.alternate([direct, bare, ours], folder=folder, rounds=rounds, seconds=1, pause_ms=pause)
        _report("1 KB, half load", runs)
        for other, name in (("direct", "added"), ("bare", "added_to_bare")):
            for figure in ("p50_ms", "p99_ms"):
                added = throughput.median(runs["routerd"], of=figure) - throughput.median(runs[other], of=figure)
                figures[f"{name}_{figure}"] = round(added, 3)
    return figures


def measure_bodies(folder: Path, *, quick: bool) -> Figures:
    """Larger bodies, against bare, to models that read them whole."""
    figures: Figures = {}
    path = objects.write(folder / "bodies.json", items=objects.split_endpoint(address=SINK_ADDRESS))
    (folder / "bodies").mkdir()
    with (
        processes.sinks(folder, address=SINK_ADDRESS),
        processes.bare_haproxy(folder, address=SINK_ADDRESS) as bare,
        processes.router(folder / "bodies", objects=path, slots="60000:8") as router,
    ):
        ours = router.subject(endpoint="credit")
        for size, connections in _BODIES.items():
            load = {"size": size, "connections": connections}
            runs = throughput.alternate([bare, ours], folder=folder, rounds=1 if quick else 3, seconds=3, **load)
            _report(f"{size // 1000} KB, {connections} connections", runs)
            figures[f"router_over_bare_{size // 1000}kb"] = round(min(throughput.ratio(runs, over="bare")), 3)
    return figures


def measure_ways(folder: Path, *, quick: bool) -> Figures:
    """TLS, tokens and a hop to the router that queues."""
    with processes.models(folder, addresses=(ADDRESS,)), ways.subjects(folder, address=ADDRESS) as subjects:
        runs = throughput.alternate(subjects, folder=folder, rounds=1 if quick else 4, seconds=3)
    _report("1 KB, one deployment", runs)
    return ways.costs(runs)


def measure_start(folder: Path, *, quick: bool) -> Figures:
    """From nothing until the first request is answered; the slowest of some."""
    path = objects.write(folder / "start.json", items=objects.one_endpoint("credit", address=ADDRESS))
    slowest = 0.0
    with processes.models(folder, addresses=(ADDRESS,)):
        for number in range(1 if quick else 3):
            (folder / f"start{number}").mkdir()
            began = time.monotonic()
            with processes.router(folder / f"start{number}", objects=path, slots="60000:8") as router:
                subject = router.subject(endpoint="credit")
                headers = {"Authorization": f"Bearer {subject.credential}"}
                httpx.post(subject.url, headers=headers, content="{}").raise_for_status()
                slowest = max(slowest, time.monotonic() - began)
    say(f"\nFrom nothing to the first answer: {slowest:.2f} s")
    return {"cold_start_seconds": round(slowest, 2)}


def _report(title: str, runs: dict[str, list[throughput.Run]]) -> None:
    say(f"\n{title:<28}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}{'errors':>8}")
    for name, made in runs.items():
        rps, p50, p99, cpu = (throughput.median(made, of=of) for of in ("rps", "p50_ms", "p99_ms", "cpu_us"))
        errors = sum(run.errors for run in made)
        say(f"  {name:<26}{rps:>12,.0f}{p50:>9.2f}{p99:>9.2f}{cpu:>9.1f}{errors:>8}")
        tell(title, subject=name, rps=round(rps), p50_ms=p50, p99_ms=p99, cpu_us=round(cpu, 1), errors=errors)


def measure_one_at_a_time(folder: Path, *, quick: bool) -> Figures:
    """C=1 on eight replicas at 90 % load, open loop; the middle one of some runs with the same arrivals."""
    with one_at_a_time.model_servers() as (ports, models):
        items = [
            objects.endpoint("one", deployments=("blue",), concurrency=1, traffic={"blue": 100}, queue=5000),
            *objects.slices("one", deployment="blue", replicas=[("127.0.0.1", port) for port in ports]),
        ]
        path = objects.write(folder / "one.json", items=items)
        with processes.router(folder / "one", objects=path, slots="60000:8") as router:
            seconds, runs = (3, 1) if quick else (20, 5)
            measured = [one_at_a_time.measure(router.port, ports=ports, seconds=seconds) for _ in range(runs)]
        counted = one_at_a_time.ended(models)
    for run in measured:
        tell("C=1 open loop", **asdict(run))
    run = sorted(measured, key=lambda run: run.p99_over_p50)[len(measured) // 2]
    bad = sum(run.not_200 for run in measured)
    say(f"\nC=1, 8 replicas, 90 % of {run.capacity_rps:.0f}/s: p50 {run.p50_ms} ms, p99 {run.p99_ms} ms")
    say(f"the same in a line without cost: p50 {run.ideal_p50_ms} ms, p99 {run.ideal_p99_ms} ms")
    say(f"p99 over p50 in {len(measured)} runs: {sorted(round(run.p99_over_p50, 2) for run in measured)}, {counted}")
    ideal = round(run.ideal_p99_ms / run.ideal_p50_ms, 2)
    figures = {"c1_p99_over_p50": round(run.p99_over_p50, 2), "c1_ideal_p99_over_p50": ideal}
    return figures | {"c1_overlaps": counted["overlaps"], "c1_not_200": bad}


def measure_scale(folder: Path, *, quick: bool) -> Figures:
    """Memory, idle CPU and the time of changes with 1,000 endpoints of four replicas."""
    items = objects.many(endpoints=scale.ENDPOINTS, address=ADDRESS)
    path = objects.write(folder / "many.json", items=items)
    (folder / "many").mkdir()
    with processes.models(folder, addresses=(ADDRESS,)):
        start = time.monotonic()
        with processes.router(folder / "many", objects=path, slots=scale.SLOTS) as router:
            ready = time.monotonic() - start
            time.sleep(2)
            memory, idle = scale.weigh(router, seconds=3 if quick else 30)
        times = asyncio.run(scale.time_changes(folder, objects=path))
    figures = {"rss_mb_1000x4": round(memory, 1), "idle_cpu_percent_1000x4": round(idle, 2)}
    return figures | {"ready_seconds_1000x4": round(ready, 2)} | {name: round(ms, 1) for name, ms in times.items()}


def main(arguments: list[str]) -> int:
    """Measure everything; 1 when a figure misses its mark."""
    if shutil.which("wrk") is None:
        say("wrk is missing: apt-get install wrk")
        return 2
    quick, figures = "--quick" in arguments, Figures()
    with tempfile.TemporaryDirectory(prefix="bench-router-") as name:
        folder = Path(name)
        (folder / "one").mkdir()
        for measure in (
            measure_throughput,
            measure_bodies,
            measure_ways,
            measure_one_at_a_time,
            measure_start,
            measure_scale,
        ):
            figures |= measure(folder, quick=quick)
    say("")
    missed = [name for name, (bound, limit) in _LIMITS.items() if not _holds(figures[name], bound, limit)]
    for name, value in figures.items():
        bound, limit = _LIMITS.get(name, ("", ""))
        say(f"  {name:<28}{value:>10}  {bound} {limit}{'  MISSED' if name in missed else ''}")
    tell("summary", **figures)
    return 1 if missed else 0


def _holds(value: float, bound: str, limit: float) -> bool:
    return value >= limit if bound == "at least" else value <= limit


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
