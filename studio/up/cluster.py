"""The embedded cluster as a child process: started, adopted, watched, ended.

    nothing --start--> starting --its JSON line--> running --TERM--> ended
                          |                          |
                          '--exit--> CannotStartError '--exit--> started again, with a growing pause

The cluster runs in a session of its own, so Ctrl-C reaches only the studio, which then ends the cluster in order. After
a kill -9 of the studio the cluster goes on answering callers. The next start finds it by its record (pid and start
time, so that a reused pid is never mistaken for it) and adopts it if it answers and is of this version, else ends it.
"""

import base64
import contextlib
import hashlib
import json
import logging
import os
import select
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from routerd.contract import EMBEDDED_BUILDER_IMAGE, EMBEDDED_SLIPWAY_IMAGE
from studio.up.begin import ROOT, BegunCluster
from studio.up.errors import CannotStartError

log = logging.getLogger(__name__)
START_SECONDS = 30.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Record:
    """What HOME/run/cluster.json says of the process that was started last."""

    pid: int
    start_time: int  # clock ticks after boot, from /proc: tells a reused pid apart
    code: str  # fingerprint of the cluster's source


class ClusterProcess:
    """The embedded cluster of one home."""

    def __init__(self, home: Path, *, port: int, isolation: str = "auto") -> None:
        self.data = home / "cluster"
        self._begun: BegunCluster | None = None
        self.kubeconfig = self.data / "kubeconfig"
        self.package_cache = self.data / "images" / "uv-cache"  # of its build pods, see clusters/embedded/build.py
        self._record_path = home / "run" / "cluster.json"
        self._log_path = home / "run" / "cluster.log"
        self._port = port
        self._options = ["--no-isolation"] if isolation == "none" else []
        self._pid = 0
        self._child: subprocess.Popen[str] | None = None  # None: adopted
        self._ready = threading.Event()
        self._failure = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="cluster-supervisor", daemon=True)

    def left_running(self) -> bool:
        """Whether a cluster that an earlier studio started is still there."""
        record = self._read_record()
        return is_running(record, pid=record.pid)

    def start(self, begun: BegunCluster | None = None) -> None:
        """Begin starting it, in a process that was begun before or another; returns at once.

        `wait_ready` tells the outcome.
        """
        if begun is not None and (begun.data != self.data or self.left_running()):
            begun.discard()
        else:
            self._begun = begun
        self._thread.start()

    def wait_ready(self) -> None:
        """Return when the API server answers; CannotStartError with the log's last line when it does not come up."""
        if not self._ready.wait(START_SECONDS) or self._failure:
            raise CannotStartError(
                f"The embedded cluster did not start: {self._failure or 'it gave no sign for 30 s'}. "
                f"Its log is {self._log_path}."
            )

    def stop(self) -> None:
        """End it and everything it runs; its objects stay for the next start."""
        self._stopping.set()
        if self._pid and is_running(record := self._read_record(), pid=self._pid):
            end(record.pid, seconds=STOP_SECONDS)
        self._thread.join(STOP_SECONDS)
        self._record_path.unlink(missing_ok=True)

    # --- the supervising thread -------------------------------------------------------------------

    def _supervise(self) -> None:
        pause = 0.2
        while not self._stopping.is_set():
            started = time.monotonic()
            try:
                self._pid = self._adopt() or self._spawn()
            except (OSError, CannotStartError) as error:
                self._failure = str(error)
                self._ready.set()
                return
            self._failure = ""
            self._ready.set()
            wait_for_exit(self._pid)
            if self._child is not None:
                self._child.wait()  # at once: it only takes note
            if self._stopping.is_set():
                return
            pause = 0.2 if time.monotonic() - started > 60 else min(pause * 2, 10)
            log.error("The embedded cluster ended by itself; starting it again in %.1f s", pause)
            self._stopping.wait(pause)

    def _adopt(self) -> int:
        """The pid of a cluster an earlier studio left running; 0 if there is none to take over."""
        record = self._read_record()
        if not is_running(record, pid=record.pid):
            return 0
        if record.code == fingerprint() and answers(self.kubeconfig):
            log.info("Adopted the embedded cluster that went on running (process %d)", record.pid)
            return record.pid
        end(record.pid, seconds=STOP_SECONDS)
        return 0

    def _spawn(self) -> int:
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        begun, self._begun = self._begun or BegunCluster(self.data, log=self._log_path), None
        self._child, pid = begun.process, begun.process.pid
        self._write_record(Record(pid=pid, start_time=start_time_of(pid), code=fingerprint()))
        images = {EMBEDDED_SLIPWAY_IMAGE: str(self._write_image()), EMBEDDED_BUILDER_IMAGE: "self"}
        options = ["--port", str(self._port), *self._options, *(f"--image={k}={v}" for k, v in images.items())]
        if not begun.run(options):
            begun.process.wait()
            raise CannotStartError(last_line(self._log_path))
        return pid

    def _write_image(self) -> Path:
        """The record of the image that holds routerd: this .venv and the two packages that run in a cluster."""
        record = {
            "ref": EMBEDDED_SLIPWAY_IMAGE,
            "path": [str(Path(sys.prefix, "bin"))],
            "env": {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            "dirs": [str(ROOT / "routerd")],
        }
        path = self._record_path.with_name("slipway-image.json")
        path.write_text(json.dumps(record))
        return path

    def _read_record(self) -> Record:
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
            return Record(**json.loads(self._record_path.read_text()))
        return Record(pid=0, start_time=0, code="")

    def _write_record(self, record: Record) -> None:
        self._record_path.write_text(json.dumps(asdict(record)))


def fingerprint() -> str:
    """Changes when the embedded cluster's source does: an older one is not adopted."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "clusters" / "embedded").rglob("*.py")):
        status = path.stat()
        digest.update(f"{path} {status.st_mtime_ns} {status.st_size}\n".encode())
    return digest.hexdigest()


def start_time_of(pid: int) -> int:
    """Clock ticks after boot at which `pid` started; 0 when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def is_running(record: Record, *, pid: int) -> bool:
    return record.pid == pid != 0 and start_time_of(pid) == record.start_time


def wait_for_exit(pid: int) -> None:
    """Return when `pid` is gone, be it our child or an adopted process."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [])
    finally:
        os.close(descriptor)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def end(pid: int, *, seconds: float) -> None:
    """TERM, wait, KILL."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            if not select.select([descriptor], [], [], seconds)[0]:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)


def answers(kubeconfig: Path) -> bool:
    """Whether the API server of this kubeconfig, which the cluster itself wrote, says it is ready."""
    try:
        written = yaml.safe_load(kubeconfig.read_text())
        server = written["clusters"][0]["cluster"]
        context = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
        request = urllib.request.Request(  # noqa: S310 - an https address from our own file
            server["server"] + "/readyz",
            headers={"Authorization": "Bearer " + written["users"][0]["user"].get("token", "")},
        )
        directly = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with directly.open(request, timeout=3) as response:
            return bool(response.status == 200)
    except (OSError, KeyError, IndexError, TypeError, ValueError, yaml.YAMLError):
        return False


def last_line(path: Path) -> str:
    """The last line that a log file holds."""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it wrote nothing"
