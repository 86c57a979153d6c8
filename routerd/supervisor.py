"""The first process of a router pod: keeps HAProxy and the control process running.

    start ──> HAProxy (started from disk, or adopted) ──> control process
                 │ ended: again within a second, from the files on disk
                 └ control ended: again after a short pause; HAProxy never notices

    SIGTERM: control says "not ready" ──drain_seconds──> HAProxy stops listening and finishes its requests
             ──idle, or grace_seconds──> both are told to end ──> exit

Standard library only and no threads: this process must be small and must not fail. It waits for signals and
for the end of its two children on file descriptors (pidfd), so it does nothing at all while all is well.
HAProxy has a session of its own and survives this process too; the next supervisor of the same run
directory adopts it.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from routerd.haproxy.maps import SERVING, HaproxyFiles
from routerd.haproxy.process import HaproxyError, HaproxyProcess, bundled_openssl
from routerd.identity import IdentityError
from routerd.settings import Settings

log = logging.getLogger(__name__)

ROLE_VARIABLE: Final = "ROUTERD_ROLE"
CONTROL_ROLE: Final = "control"

_START_SECONDS: Final = 15.0
_CHECK_SECONDS: Final = 0.05  # while draining
_STEADY_SECONDS: Final = 10.0  # a child that ran so long failed for a new reason
_LONGEST_PAUSE: Final = 5.0
_IDLE_CHECKS: Final = 10  # times in a row without a request before a drained HAProxy is told to end


class Supervisor:
    """HAProxy and the control process of one run directory."""

    def __init__(self, settings: Settings, *, control_command: Sequence[str]) -> None:
        self._settings = settings
        self._files = HaproxyFiles(settings)
        self._haproxy = HaproxyProcess(settings, self._files)
        self._control = _Control(control_command)
        self._wakeup, self._signals = socket.socketpair()

    def run(self) -> int:
        """Keep both running until SIGTERM or SIGINT; the exit status (0)."""
        self._listen_for_signals()
        if (openssl := bundled_openssl(self._settings)) is not None:
            log.warning(
                "HAProxy is the wheel's, with %s, which is out of support: name another with --haproxy", openssl
            )
        self._start_haproxy()
        self._control.start()
        while not self._stop_asked():
            self._restart_what_ended()
            self._wait(self._control.pause_left())
        self._drain()
        return 0

    def _listen_for_signals(self) -> None:
        for end in (self._wakeup, self._signals):
            end.setblocking(False)
        signal.set_wakeup_fd(self._signals.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, _remember)

    def _start_haproxy(self) -> None:
        if self._haproxy.adopt():
            if self._files.understood():
                log.info("Adopted HAProxy: process %s", self._haproxy.pid)
                return
            log.warning("Replacing the HAProxy of another release: process %s", self._haproxy.pid)
            self._end_haproxy()
            self._haproxy.close()
        self._files.prepare()
        self._haproxy.start()
        self._haproxy.wait_ready(timeout_seconds=_START_SECONDS)
        log.info("Started HAProxy: process %s", self._haproxy.pid)

    def _restart_what_ended(self) -> None:
        if self._haproxy.ended():
            log.error("HAProxy ended: starting it again from disk")
            self._haproxy.close()
            try:
                self._start_haproxy()
            except (HaproxyError, IdentityError) as error:
                log.error("HAProxy does not start, trying again: %s", error)
                time.sleep(_CHECK_SECONDS)
        self._control.keep_running()
        _reap_orphans(except_for={self._haproxy.pid, self._control.pid})

    def _stop_asked(self) -> bool:
        try:
            numbers = self._wakeup.recv(4096)
        except BlockingIOError:
            return False
        return bool({signal.SIGTERM, signal.SIGINT} & set(numbers))

    def _wait(self, seconds: float | None) -> None:
        """Until a signal arrives, HAProxy ends, or the time is over (an adopted HAProxy is no child)."""
        poll = select.poll()
        poll.register(self._wakeup, select.POLLIN)
        if self._haproxy.pidfd is not None:
            poll.register(self._haproxy.pidfd, select.POLLIN)
        poll.poll(None if seconds is None else seconds * 1000)

    def _drain(self) -> None:
        log.info("Stopping: draining")
        self._control.send(signal.SIGUSR1)
        state = self._files.map_path("state")
        requests = _RequestCounter(self._settings)  # before the soft stop: it closes the admin socket too
        requests.stop_serving_peers(state)
        end = time.monotonic() + self._settings.drain_seconds
        while time.monotonic() < end and not self._haproxy.ended():
            time.sleep(_CHECK_SECONDS)
        requests.announce_end(state)
        self._haproxy.send(signal.SIGUSR1)
        self._wait_idle(requests)
        self._end_haproxy()
        self._control.stop()
        log.info("Stopped")

    def _end_haproxy(self) -> None:
        self._haproxy.send(signal.SIGTERM)
        if not self._haproxy.wait_ended(timeout_seconds=5):
            self._haproxy.send(signal.SIGKILL)
            self._haproxy.wait_ended(timeout_seconds=5)

    def _wait_idle(self, requests: "_RequestCounter") -> None:
        end = time.monotonic() + self._settings.grace_seconds
        idle = 0
        while idle < _IDLE_CHECKS and time.monotonic() < end and not self._haproxy.ended():
            idle = idle + 1 if requests.count() == 0 else 0
            time.sleep(_CHECK_SECONDS)
        if idle < _IDLE_CHECKS and not self._haproxy.ended():
            log.warning("Requests were still running after %s s", self._settings.grace_seconds)


class _Control:
    """The control process: started again when it ends, with a growing pause when it ends quickly."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = 0.0
        self._next_start: float | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        environment = os.environ | {ROLE_VARIABLE: CONTROL_ROLE}
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment)
        self._started, self._next_start = time.monotonic(), None
        log.info("Started the control process: %s", self._process.pid)

    def keep_running(self) -> None:
        now = time.monotonic()
        if self._next_start is not None:
            if now >= self._next_start:
                self.start()
        elif self._process is None or self._process.poll() is not None:
            status = self._process.returncode if self._process else None
            steady = now - self._started >= _STEADY_SECONDS
            self._pause = 0.1 if steady or not self._pause else min(_LONGEST_PAUSE, self._pause * 2)
            self._next_start = now + self._pause
            log.error("The control process ended (%s): again in %.1f s", status, self._pause)

    def pause_left(self) -> float | None:
        """Seconds until it is started again; None while it runs."""
        return None if self._next_start is None else max(0.0, self._next_start - time.monotonic())

    def send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is None:
            return
        self.send(signal.SIGTERM)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _RequestCounter:
    """Requests in HAProxy, over one admin connection that stays open through its soft stop."""

    def __init__(self, settings: Settings) -> None:
        self._connection: socket.socket | None = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(2.0)
        try:
            self._connection.connect(str(settings.admin_socket))
            self._ask("prompt")
        except OSError:
            self._connection = None

    def count(self) -> int:
        """Requests being answered or waiting now; 0 when HAProxy does not say any more."""
        if self._connection is None:
            return 0
        try:
            rows = self._ask("show stat -1 2 -1").splitlines()
        except OSError:
            return 0
        return sum(int(fields[4] or 0) for row in rows if len(fields := row.split(",")) > 4 and _counts(fields))

    def stop_serving_peers(self, state: Path) -> None:
        """Answer other routers' checks with no, so that they pass nothing here any more."""
        with contextlib.suppress(OSError):
            self._ask(f"del map {state} {SERVING}")

    def announce_end(self, state: Path) -> None:
        """Tell HAProxy that no other worker follows, so that it answers what still comes itself."""
        with contextlib.suppress(OSError):
            self._ask(f"add map {state} stopping 1")

    def _ask(self, command: str) -> str:
        if self._connection is None:
            return ""
        self._connection.sendall(command.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"> "):
            part = self._connection.recv(65536)
            if not part:
                raise ConnectionResetError("HAProxy closed its admin connection")
            answer += part
        return answer.decode()


def _counts(fields: Sequence[str]) -> bool:
    return fields[1] == "BACKEND" and fields[4].isdigit()


def _remember(_number: int, _frame: object) -> None:
    """Signals are read from the wake-up socket; this only keeps Python from acting on them itself."""


def _reap_orphans(*, except_for: set[int | None]) -> None:
    """As process 1 of a container, bury those whose parent died (an old HAProxy worker)."""
    if os.getpid() != 1:
        return
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in except_for:
            return
        os.waitpid(found.si_pid, os.WNOHANG)


def control_command() -> list[str]:
    """How the control process is started: this program again, told its role by an environment variable."""
    return [sys.executable, "-m", "routerd", *sys.argv[1:]]
