"""A container's process as the kubelet holds it: spawned now, or found again after a restart.

A start ("attempt") is a directory, see shim.py. The flock on its ``lock`` file is taken here and inherited by
the shim: while it is held the container lives, whatever process ids have been reused meanwhile.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clusters.embedded.kubelet.output import timestamp
from clusters.embedded.kubelet.proc import session_members
from clusters.embedded.kubelet.shim import write_json

_PROJECT: Final = str(Path(__file__).resolve().parents[3])
_RUN_SHIM: Final = (
    f"import sys; sys.path.insert(0, {_PROJECT!r}); "
    "from clusters.embedded.kubelet.shim import main; sys.exit(main(sys.argv[1:]))"
)
_COMMAND: Final = (sys.executable, "-E", "-s", "-S", "-c", _RUN_SHIM)
_SHIM_START_SECONDS: Final = 30.0


class StartError(Exception):
    """The program could not be run; the message is the kernel's or the shim's reason."""


@dataclass(frozen=True)
class Exit:
    """How a container ended. Times are RFC 3339; ``exit_code`` is 128 + signal when killed."""

    exit_code: int
    signal: int
    started_at: str
    finished_at: str
    oom_killed: bool = False
    error: str = ""
    known: bool = True  # False: the shim was killed too, nobody saw the end


@dataclass(frozen=True)
class ExecResult:
    exit_code: int
    output: str
    timed_out: bool = False


class ContainerProcess:
    """One running attempt. ``wait()`` may be awaited by several."""

    def __init__(self, directory: Path, *, shim_pid: int) -> None:
        self.directory = directory
        self._shim_pid = shim_pid
        self._pidfd = os.pidfd_open(shim_pid)
        self._exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_exit)

    @classmethod
    async def spawn(cls, directory: Path, *, spec: dict[str, Any]) -> "ContainerProcess":
        """Start a container in an empty directory. Raises StartError; then ``exit.json`` is there too.

        Cancelled, it ends what it has begun: nobody else knows of it yet.
        """
        write_json(directory / "spec.json", spec)
        (directory / "spec.json").chmod(0o600)
        ready, write_end = os.pipe2(os.O_CLOEXEC)
        lock = _take_lock(directory)
        try:
            pid = _spawn_shim(directory, lock=lock, ready=write_end)
        finally:
            os.close(lock)
            os.close(write_end)
        process = cls(directory, shim_pid=pid)
        told = asyncio.ensure_future(_read_ready(ready))
        try:
            running = await asyncio.shield(told)
        except asyncio.CancelledError:
            if await told:  # before that there is nobody to be killed
                process.kill()
            await process.wait()
            raise
        if not running:
            await process.wait()
            raise StartError(read_exit(directory).error or _shim_error(directory))
        return process

    @classmethod
    async def find(cls, directory: Path) -> "ContainerProcess | None":
        """The running attempt of this directory, or None when it has ended (or never began)."""
        for _ in range(int(_SHIM_START_SECONDS / 0.02)):
            if not is_alive(directory):
                return None
            with contextlib.suppress(OSError, ValueError):
                pid = int(json.loads((directory / "shim.json").read_text())["pid"])
                process = cls(directory, shim_pid=pid)
                if is_alive(directory):  # still locked with its pidfd open: it is the right one
                    return process
                process.close()
                return None
            await asyncio.sleep(0.02)  # spawned a moment before the cluster was killed: it is just beginning
        raise StartError(f"the process that holds {directory} does not say who it is")

    @property
    def started_at(self) -> str:
        return str(_read_json(self.directory / "started.json").get("startedAt", ""))

    @property
    def pid(self) -> int:
        """The process id, as seen from outside, of the container's PID 1."""
        return int(_read_json(self.directory / "started.json").get("pid", 0))

    @property
    def exited(self) -> bool:
        return self._exited.done()

    async def wait(self) -> Exit:
        await asyncio.shield(self._exited)
        return read_exit(self.directory)

    def terminate(self) -> None:
        """TERM to the container's PID 1."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """KILL to everything in the container."""
        self._send(signal.SIGUSR1)

    async def execute(self, argv: list[str], *, timeout_seconds: float) -> ExecResult:
        """Run a command where the container lives, with its environment and user."""
        spec = _read_json(self.directory / "spec.json")
        order = spec | {"target": self.pid, "argv": argv}
        child = await asyncio.create_subprocess_exec(
            *_COMMAND,
            "exec",
            json.dumps(order),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={},
        )
        try:
            output, _ = await asyncio.wait_for(child.communicate(), timeout_seconds)
        except TimeoutError:
            return ExecResult(-1, "", timed_out=True)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return ExecResult(int(child.returncode or 0), output.decode(errors="replace"))

    def close(self) -> None:
        """Stop looking; the container goes on."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _send(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def _on_exit(self) -> None:
        self.close()
        with contextlib.suppress(ChildProcessError):  # an adopted shim is not our child
            os.waitpid(self._shim_pid, 0)
        end_leftovers(self.directory)
        if not self._exited.done():
            self._exited.set_result(None)


def is_alive(directory: Path) -> bool:
    """Whether some process holds the attempt's lock."""
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def read_exit(directory: Path) -> Exit:
    """How an attempt that is over ended; one that was killed with its cluster before it began has no lock yet."""
    started = str(_read_json(directory / "started.json").get("startedAt", ""))
    report = _read_json(directory / "exit.json")
    if not report:
        lock = directory / "lock"
        now = timestamp((lock if lock.exists() else directory).stat().st_mtime_ns)
        return Exit(137, 0, started, now, known=False, error=_shim_error(directory))
    return Exit(
        exit_code=report["exitCode"],
        signal=report["signal"],
        started_at=started,
        finished_at=report["finishedAt"],
        oom_killed=report["oomKilled"],
        error=report["error"],
    )


def end_leftovers(directory: Path) -> None:
    """If the shim itself was killed, its container's session may live on: end it."""
    if (directory / "exit.json").exists():
        return
    started = _read_json(directory / "started.json")
    pid, ticks = int(started.get("pid", 0)), started.get("startTicks")
    if not pid:
        return
    for member in session_members(pid, started_at=ticks):
        with contextlib.suppress(OSError):
            os.kill(member, signal.SIGKILL)


def _take_lock(directory: Path) -> int:
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _spawn_shim(directory: Path, *, lock: int, ready: int) -> int:
    for fd in (lock, ready):
        os.set_inheritable(fd, True)
    complaints = str(directory / "shim.err")
    return os.posix_spawn(
        _COMMAND[0],
        [*_COMMAND, "run", str(directory), str(lock), str(ready)],
        {},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, complaints, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ],
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


async def _read_ready(fd: int) -> bool:
    """True once the program runs, False when the shim gave up."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, _resolve, readable)
    try:
        await readable
        return os.read(fd, 1) == b"1"
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _shim_error(directory: Path) -> str:
    try:
        lines = (directory / "shim.err").read_text().strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
