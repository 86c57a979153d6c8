"""Throughput and latency by wrk: alternating runs of every subject, so that a busy machine is unfair to none.

Two ways to say how fast a proxy is. Requests a second are what a caller sees, but on a machine of two cores the load
generator and the models may be what is slow. Requests per second of the proxy's own CPU time say what one core of it
can do. The headline is the smaller of the two ratios.
"""

import re
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.router.processes import LOAD_CORE, Subject

_SCRIPT: Final = """wrk.method = "POST"
wrk.body = string.rep("x", {size})
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer {key}"
{pace}
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %.3f %.3f %d\\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
"""
_RESULT: Final = re.compile(r"^RESULT (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """One run of wrk against one subject; times in milliseconds."""

    subject: str
    rps: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # of the proxy, per request
    errors: int


def run_wrk(
    subject: Subject, *, folder: Path, seconds: int, size: int = 1024, connections: int = 64, pause_ms: int = 0
) -> Run:
    """Send requests with a body of `size` bytes; `pause_ms`: what every connection waits between two, on average."""
    pace = f"delay = function() return math.random(0, {2 * pause_ms}) end" if pause_ms else ""
    script = folder / "wrk.lua"
    script.write_text(_SCRIPT.format(size=size, key=subject.credential, pace=pace))
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    before = subject.cpu_seconds()
    done = subprocess.run([*command, subject.url], capture_output=True, text=True, timeout=seconds + 30, check=True)
    cpu = subject.cpu_seconds() - before
    found = _RESULT.search(done.stdout)
    if found is None:
        raise ValueError(f"wrk said nothing of its run: {done.stdout} {done.stderr}")
    requests, microseconds = int(found[1]), int(found[2])
    return Run(
        subject=subject.name,
        rps=requests * 1e6 / microseconds,
        p50_ms=float(found[3]),
        p99_ms=float(found[4]),
        cpu_us=cpu * 1e6 / max(1, requests),
        errors=int(found[5]),
    )


def alternate(
    subjects: Sequence[Subject], *, folder: Path, rounds: int, seconds: int, **load: int
) -> dict[str, list[Run]]:
    """Run every subject in turn, `rounds` times, with the `load` of run_wrk; runs by the subject's name."""
    runs: dict[str, list[Run]] = {subject.name: [] for subject in subjects}
    for _ in range(rounds):
        for subject in subjects:
            made = run_wrk(subject, folder=folder, seconds=seconds, **load)
            runs[subject.name].append(made)
    return runs


def median(runs: Sequence[Run], *, of: str) -> float:
    """The median of one figure over several runs."""
    return statistics.median(getattr(run, of) for run in runs)


def ratio(runs: dict[str, list[Run]], *, over: str) -> tuple[float, float]:
    """routerd over another subject, medians of the ratios of neighbouring runs: (requests/s, requests/CPU second)."""
    pairs = list(zip(runs["routerd"], runs[over], strict=True))
    by_time = statistics.median(ours.rps / theirs.rps for ours, theirs in pairs)
    by_cpu = statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs)
    return by_time, by_cpu
