"""The production shape on one machine: PostgreSQL and Redis, and each part of the studio as a process of its own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from tests.clusters.conftest import RunningCluster, start_cluster, stop_cluster
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql"))
CELERY = (sys.executable, "-m", "celery", "-A", "studio")
PROXY = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}


def wait_for_port(port: int, process: "subprocess.Popen[str]", *, seconds: float = 30) -> None:
    """Until somebody listens there, or the process that should has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)  # a port has no event to wait for
    raise AssertionError(f"nobody listens on {port} after {seconds} s")


@dataclass
class Processes:
    """What was started, ended in the reverse order."""

    folder: Path
    environment: dict[str, str]
    running: dict[str, "subprocess.Popen[str]"] = field(default_factory=dict)

    def start(self, name: str, command: Sequence[str], *, user: str | None = None) -> "subprocess.Popen[str]":
        """Start one; what it says goes to a file of its name."""
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                text=True,
                cwd=ROOT if not user else "/",
                user=user,
            )
        self.running[name] = process
        return process

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self, name: str) -> int:
        """SIGTERM, then wait; its exit code."""
        process = self.running.pop(name)
        process.terminate()
        killer = threading.Timer(20, process.kill)
        killer.start()
        code = process.wait()
        killer.cancel()
        return code

    def kill(self, name: str) -> None:
        """SIGKILL."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def end_all(self) -> None:
        for name in reversed(list(self.running)):
            self.end(name)


def start_postgres(processes: Processes, *, folder: Path, port: int) -> None:
    """A database cluster in `folder`, without a password, on loopback. PostgreSQL does not run as root."""
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)
    initdb = [str(POSTGRES / "initdb"), "-D", str(folder / "data"), "-U", "slipway", "-A", "trust", "-N", "-E", "UTF8"]
    subprocess.run(initdb, check=True, capture_output=True, user=user, cwd="/", timeout=60)
    server = [
        str(POSTGRES / "postgres"),
        "-D",
        str(folder / "data"),
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "-k",
        "",
        "-F",
    ]
    wait_for_port(port, processes.start("postgres", server, user=user))


@dataclass(frozen=True)
class Production:
    """A running studio of many processes."""

    address: str
    password: str
    processes: Processes

    commands: ClassVar[dict[str, tuple[str, ...]]] = {
        "web": (sys.executable, "manage.py", "serve"),
        "worker": (*CELERY, "worker", "--pool", "threads", "--concurrency", "4"),
        "watch": (sys.executable, "manage.py", "watch"),
    }


def manage(processes: Processes, *arguments: str) -> str:
    """manage.py, to its end; what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        env=processes.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Production]:
    """PostgreSQL, Redis, web server, worker, beat and watcher, with the workspace main of the user erin."""
    folder = tmp_path_factory.mktemp("production")
    database, redis, web = free_port(), free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "SLIPWAY_HOME": str(folder / "home"),
        "SLIPWAY_PORT": str(web),
        "DATABASE_URL": f"postgresql://slipway@127.0.0.1:{database}/postgres",
        "REDIS_URL": f"redis://127.0.0.1:{redis}",
    }
    with ExitStack() as stack:
        files = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slipway-postgres-")))
        processes = Processes(folder, environment)
        stack.callback(processes.end_all)
        start_postgres(processes, folder=files, port=database)
        quiet = ["--save", "", "--appendonly", "no", "--dir", str(folder)]
        server = processes.start("redis", ["redis-server", "--port", str(redis), "--bind", "127.0.0.1", *quiet])
        wait_for_port(redis, server)
        manage(processes, "migrate", "--verbosity", "0")
        said = manage(processes, "make_workspace", "main", "--owner", "erin")
        processes.start("beat", [*CELERY, "beat", "--schedule", str(folder / "beat")])
        for name in ("worker", "watch"):
            processes.start(name, Production.commands[name])
        wait_for_port(web, processes.start("web", Production.commands["web"]))
        password = said.strip().rpartition("Password: ")[2]
        yield Production(f"http://127.0.0.1:{web}", password, processes)


@pytest.fixture(scope="module")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """A cluster to attach."""
    cluster = start_cluster(tmp_path_factory.mktemp("cluster"), builds=True)
    yield cluster
    stop_cluster(cluster)
