"""Routers as pods are: `python -m routerd`, each with an address of its own and the same ports."""

import asyncio
import itertools
import os
import signal
import ssl
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.router.processes import children, free_port
from benchmarks.soak_router.authority import HOST
from routerd import contract
from routerd.haproxy.process import running_pid
from routerd.haproxy.runtime import Runtime, RuntimeUnavailable

_TOKEN: Final = "soak"  # noqa: S105 of routers that live for minutes on loopback
_SECONDS: Final = 60.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Ports:
    """The ports all routers of a soak have."""

    inference: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    peer: int = field(default_factory=free_port)


@dataclass
class Router:
    """One router and all its processes."""

    folder: Path
    ports: Ports
    number: int = field(default_factory=_numbers.__next__)

    @property
    def name(self) -> str:
        return f"router-{self.number}"

    @property
    def address(self) -> str:
        return f"127.125.{self.number // 250}.{self.number % 250 + 1}"

    @property
    def run_dir(self) -> Path:
        return self.folder / self.name

    async def start(self, *options: str) -> None:
        """Start its processes; it is ready when `is_ready` says so."""
        command = [sys.executable, "-m", "routerd", "--run-dir", str(self.run_dir), "--bind", self.address, *options]
        for name in ("inference", "tls", "admin", "peer"):
            command += [f"--{name}-port", str(getattr(self.ports, name))]
        command += ["--pod-name", self.name, "--pod-uid", self.name, "--admin-token", _TOKEN]
        with (self.folder / "routerd.log").open("ab") as log:
            self.supervisor = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)

    async def is_ready(self) -> bool:
        """Whether it says that callers should be sent to it."""
        return await self._ask(contract.ADMIN_READYZ) is not None

    async def table(self) -> dict[str, Any]:
        """What it has in force, by `namespace/name`; empty when it does not say."""
        told = await self._ask(contract.ADMIN_TABLE)
        return told["endpoints"] if told else {}

    async def _ask(self, path: str) -> dict[str, Any] | None:
        url, headers = f"http://{self.address}:{self.ports.admin}{path}", {contract.ADMIN_TOKEN_HEADER: _TOKEN}
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.request("GET", url, headers=headers) as answer:
                if answer.status == 200:
                    told: dict[str, Any] = await answer.json()
                    return told
        return None

    async def answers(self) -> bool:
        """Whether its HAProxy answers callers at all."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.request("GET", f"http://{self.address}:{self.ports.inference}/-/healthz") as answer:
                return answer.status == 200
        return False

    async def finds(self, others: Iterable[str]) -> bool:
        """Whether its HAProxy finds the routers at these addresses alive, and no others."""
        with suppress(RuntimeUnavailable):
            (text,) = await Runtime(self.run_dir / "admin.sock").execute("show stat -1 4 9998")
            rows = [line.split(",") for line in text.splitlines() if line.startswith("peer")]
            return {row[73].rpartition(":")[0] for row in rows if row[17].startswith("UP")} == set(others)
        return False

    async def shows(self, trust: ssl.SSLContext) -> bool:
        """Whether a caller with this trust accepts the certificate it shows."""
        with suppress(OSError):
            _, writer = await asyncio.open_connection(self.address, self.ports.tls, ssl=trust, server_hostname=HOST)
            writer.transport.abort()
            return True
        return False

    def control_process(self) -> int:
        """The process id of its Python half."""
        haproxy = self.haproxy()
        (found,) = set(children(self.supervisor.pid)) - set(haproxy)
        return found

    def haproxy(self) -> list[int]:
        """The process ids of its HAProxy: worker and master."""
        master = int((self.run_dir / "haproxy.pid").read_text().split()[0])
        return [*children(master), master]

    async def kill(self) -> None:
        """End all of it as the end of its node does; nothing where it has ended."""
        master = running_pid(self.run_dir)
        below = [*children(master), master] if master else []
        if self.supervisor.returncode is None:
            below += [self.supervisor.pid, *children(self.supervisor.pid)]
        await kill(*below)
        await self.supervisor.wait()

    async def leave(self) -> int:
        """End it as Kubernetes does; the exit status."""
        self.supervisor.terminate()
        return await asyncio.wait_for(self.supervisor.wait(), _SECONDS)


async def kill(*pids: int) -> None:
    """End processes as a crash does, and wait until they and their connections are gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while any(map(_lives, pids)):  # noqa: ASYNC110 no event for it
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)  # what callers' sockets heard of it is read


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
