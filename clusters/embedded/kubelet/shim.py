"""The process between the kubelet and one container: it outlives the kubelet, and nothing outlives it.

    cluster process --spawns--> shim (own session) --forks--> the container's PID 1
                                 | reads its output, writes the CRI log
                                 | waits for it, ends whatever it left behind, writes exit.json

So a kill -9 of the cluster neither ends nor blocks a container, and how it ended is known afterwards.
Files of one start ("attempt") of a container, all in one directory:

    spec.json     what to run (from the kubelet)           lock          flock held as long as the shim lives
    shim.json     {"pid"} of the shim                      started.json  {"pid", "startedAt"} after a good exec
    log           CRI lines                                exit.json     {"exitCode", "signal", "finishedAt",
    tmp/          the container's /tmp                                    "oomKilled", "error"}

The lock is taken by the kubelet and inherited, so "is it alive" has no race: the lock is held, or it is not.
Signals to the shim: TERM is passed to the container's PID 1, USR1 kills everything in it at once.
With namespaces, PID 1 really is 1: as on any cluster it gets no TERM it has no handler for, and when it ends
the kernel ends all others. Without, the shim adopts orphans and kills all its descendants itself.

    shim run ATTEMPT_DIR LOCK_FD READY_FD      one container
    shim exec SPEC_JSON                        a command inside one (probes, hooks)

Standard library only, see linux.py.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Final

from clusters.embedded.kubelet import linux
from clusters.embedded.kubelet.entry import Spec, enter_user_namespace, run_child, run_inside
from clusters.embedded.kubelet.output import LineSplitter, LogFile, timestamp
from clusters.embedded.kubelet.proc import descendants, start_ticks

_READ_SIZE: Final = 1 << 16
_DRAIN_SECONDS: Final = 2.0
_LOOK_MILLISECONDS: Final = 15_000


def write_json(path: Path, value: object) -> None:
    """Write so that a reader sees all of it or nothing."""
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(value))
    draft.replace(path)


class Shim:
    """Runs one container from start to ``exit.json``."""

    def __init__(self, directory: Path, *, ready: int) -> None:
        self._directory = directory
        self._ready = ready  # one byte is written here once the program runs; closed in any case
        self._spec: Spec = json.loads((directory / "spec.json").read_text())
        self._log = LogFile(directory / "log")
        self._streams: dict[int, LineSplitter] = {}
        self._child = 0
        self._ended: int | None = None  # the wait status of PID 1
        self._early: dict[int, int] = {}  # wait statuses of who ended before fork() had told us who PID 1 is

    def run(self) -> None:
        write_json(self._directory / "shim.json", {"pid": os.getpid()})
        linux.adopt_orphans()
        wakeup, waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, self._on_signal)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        error = self._start()
        if error:
            self._finish(error=error)
            return
        started = {
            "pid": self._child,
            "startTicks": start_ticks(self._child),
            "startedAt": timestamp(time.time_ns()),
        }
        write_json(self._directory / "started.json", started)
        with contextlib.suppress(OSError):  # nobody listens any more after a kill -9 of the kubelet
            os.write(self._ready, b"1")
        os.close(self._ready)
        self._copy_until_end(wakeup)
        self._kill_all()
        self._drain()
        self._finish(error="")

    def _start(self) -> str:
        """Fork the container; return why it could not start, or ""."""
        try:
            if self._spec["namespaces"] and self._spec["user_namespace"]:
                enter_user_namespace(self._spec)
            if self._spec["own_pids"]:
                linux.unshare(linux.CLONE_NEWPID)
        except OSError as error:
            return f"cannot make namespaces: {error}"
        out, err, status = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        self._child = os.fork()
        if self._child == 0:
            run_child(self._spec, stdout=out[1], stderr=err[1], status=status[1])
        if self._child in self._early:
            self._ended = self._early[self._child]
        for _, end in (out, err, status):
            os.close(end)
        self._streams = {out[0]: LineSplitter("stdout"), err[0]: LineSplitter("stderr")}
        with os.fdopen(status[0], "rb") as report:
            return report.read().decode(errors="replace")

    def _on_signal(self, number: int, _frame: object) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif self._child and self._ended is None:
            if number == signal.SIGTERM:
                os.kill(self._child, signal.SIGTERM)
            else:
                self._kill_all()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._child:
                self._ended = status
            elif not self._child:
                self._early[pid] = status

    def _copy_until_end(self, wakeup: int) -> None:
        poller = select.poll()
        for fd in (wakeup, *self._streams):
            poller.register(fd, select.POLLIN)
        while self._ended is None:
            if not self._directory.exists():  # the cluster's data was thrown away: nobody will ever ask for this
                self._kill_all()
            for fd, _ in poller.poll(_LOOK_MILLISECONDS):
                if fd == wakeup:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wakeup, 512)
                elif not self._copy(fd):
                    poller.unregister(fd)

    def _copy(self, fd: int) -> bool:
        """Move what is there into the log. False at the stream's end."""
        data = os.read(fd, _READ_SIZE)
        splitter = self._streams[fd]
        now = time.time_ns()
        try:
            self._log.write(splitter.feed(data, now_ns=now) if data else splitter.finish(now_ns=now))
        except OSError:
            return True  # a full disk loses log lines; it must not stop the container
        if not data:
            del self._streams[fd]
            os.close(fd)
        return bool(data)

    def _drain(self) -> None:
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._streams and time.monotonic() < deadline:
            ready, _, _ = select.select(list(self._streams), [], [], 0.1)
            for fd in ready:
                self._copy(fd)

    def _kill_all(self) -> None:
        """End every process of the container. New ones may be forked meanwhile: look until none is left."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while time.monotonic() < deadline:
            targets = descendants(os.getpid())
            if self._ended is None:
                targets.add(self._child)
            for pid in targets:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not targets or (self._ended is None and self._spec["own_pids"]):
                return
            time.sleep(0.01)
            self._reap()

    def _finish(self, *, error: str) -> None:
        if self._child and self._ended is None:
            with contextlib.suppress(ChildProcessError):
                self._ended = os.waitpid(self._child, 0)[1]
        self._log.close()
        code = 128 if error or self._ended is None else os.waitstatus_to_exitcode(self._ended)
        report = {
            "exitCode": code if code >= 0 else 128 - code,
            "signal": -code if code < 0 else 0,
            "finishedAt": timestamp(time.time_ns()),
            "oomKilled": _was_killed_for_memory(self._spec["cgroups"]),
            "error": error,
        }
        with contextlib.suppress(FileNotFoundError):
            write_json(self._directory / "exit.json", report)
        for directory in self._spec["cgroups"]:
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def _was_killed_for_memory(cgroups: list[str]) -> bool:
    for directory in cgroups:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                for line in Path(directory, name).read_text().splitlines():
                    if line.startswith("oom_kill ") and line.split()[1] != "0":
                        return True
    return False


def main(arguments: list[str]) -> int:
    if arguments[0] == "exec":
        linux.die_with_parent(signal.SIGKILL)
        return run_inside(json.loads(arguments[1]))
    directory, lock, ready = Path(arguments[1]), int(arguments[2]), int(arguments[3])
    os.setsid()
    os.umask(0o022)
    for fd in (lock, ready):
        os.set_inheritable(fd, False)  # the container must not hold them
    Shim(directory, ready=ready).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
