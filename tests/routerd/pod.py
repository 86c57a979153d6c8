"""One router pod as a test sees it: a run directory, its object file, and the supervisor running on it."""

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from routerd.contract import ADMIN_READYZ
from routerd.haproxy.process import running_pid
from routerd.haproxy.runtime import Runtime
from tests.ports import free_port
from tests.routerd.conftest import ModelServer, endpoint_slice, eventually, online_endpoint


@dataclass
class Pod:
    """One run directory, its object file, and the supervisor running on it."""

    folder: Path
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    supervisor: asyncio.subprocess.Process | None = None

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/endpoint/credit/score"

    def write(self, *models: ModelServer) -> None:
        """Describe an open endpoint served by these models."""
        documents = {"kind": "List", "items": [online_endpoint(), *map(slice_of, models)]}
        partial = self.folder / "objects.new"
        partial.write_text(json.dumps(documents))
        partial.replace(self.folder / "objects.json")

    async def start(self, *, stderr: int | None = None) -> None:
        options = ["--run-dir", str(self.run_dir), "--bind", "127.0.0.1", "--objects"]
        options += [str(self.folder / "objects.json"), "--slots", "500:4,60000:4"]
        options += ["--inference-port", str(self.port), "--admin-port", str(self.admin_port)]
        options += ["--drain-seconds", "0.2", "--grace-seconds", "5", "--admin-token", "t"]
        self.supervisor = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "routerd", *options, start_new_session=True, stderr=stderr
        )

    def haproxy(self) -> int | None:
        return running_pid(self.run_dir)

    async def worker(self) -> int:
        return (await Runtime(self.run_dir / "admin.sock").process_ids())[0]

    def control(self) -> int | None:
        """The control process: the supervisor's child that holds the lock."""
        assert self.supervisor is not None
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.supervisor.pid and int(entry.name) != self.haproxy():
                    return int(entry.name)
        return None

    async def is_ready(self) -> bool:
        """What the admin API's readiness probe says."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.admin_port}{ADMIN_READYZ}") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def wait_ready(self) -> None:
        await eventually(self.is_ready)

    async def end(self) -> None:
        """End whatever is left, by process id."""
        if self.supervisor is not None and self.supervisor.returncode is None:
            self.supervisor.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.supervisor.wait(), 15)
            except TimeoutError:
                self.supervisor.kill()
                await self.supervisor.wait()
        pid = self.haproxy()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            await eventually(lambda: self.haproxy() is None)


def slice_of(model: ModelServer) -> dict[str, object]:
    """An EndpointSlice for this model alone: each listens on a port of its own."""
    return endpoint_slice(model) | {
        "metadata": {
            "namespace": "team-a",
            "name": f"slice-{model.name}",
            "labels": {"kubernetes.io/service-name": "credit--blue"},
        }
    }
