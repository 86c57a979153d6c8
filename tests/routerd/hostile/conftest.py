"""A stage for attackers: a real router with two endpoints, whose models keep every byte they are sent.

`credit` is the endpoint whose key the attacker holds, `fraud` the one whose key they do not. Every test of this folder
runs on the wheel's HAProxy and on another one, and ends with the same question: is the router unharmed?
"""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from routerd.contract import key_hash
from routerd.routes import Replica
from routerd.settings import Settings
from tests.routerd.conftest import KEY, Router, deployment, endpoint

OTHER_KEY = "key-of-fraud-that-no-attacker-has"
AUTH = f"authorization: Bearer {KEY}".encode()
QUIET_SECONDS = 1.0  # a connection on which nothing comes for so long has said all it will


@pytest.fixture(params=["wheel", pytest.param("debian", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """The router of few slots, on the HAProxy the test's name tells."""
    return settings if request.param == "wheel" else replace(settings, haproxy=other_haproxy())


def other_haproxy() -> Path:
    """Debian's HAProxy, or the one SLIPWAY_TEST_HAPROXY names; skips where there is none that is new enough."""
    found = os.environ.get("SLIPWAY_TEST_HAPROXY") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if found is None:
        pytest.skip("Debian's HAProxy is not installed: apt-get install haproxy")
    told = subprocess.run([found, "-v"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\d+)\.(\d+)", told)
    if version is None or (int(version[1]), int(version[2])) < (2, 8):
        pytest.skip(f"routerd needs HAProxy 2.8 or newer, and {found} is {version[0] if version else told!r}")
    return Path(found)


@dataclass(frozen=True)
class Received:
    """One request as the model got it, byte for byte."""

    head: bytes
    body: bytes

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip() for found, _, value in pairs if found.strip().lower() == name]


@dataclass
class Witness:
    """A model server that keeps every byte and answers each request with its own name and the path it was asked."""

    name: str
    address: str
    port: int = 0
    extra: bytes = b""  # more lines of every answer's head, each ended by CRLF
    requests: list[Received] = field(default_factory=list)
    everything: bytearray = field(default_factory=bytearray)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def replica(self) -> Replica:
        return Replica(name=self.name, address=self.address, port=self.port)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                await self._answer(await self._read(reader), writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Received:
        head = self._keep(await reader.readuntil(b"\r\n\r\n"))
        got = Received(head, b"")
        body = b""
        if got.values(b"transfer-encoding"):
            while size := int(self._keep(await reader.readline()).partition(b";")[0], 16):
                body += self._keep(await reader.readexactly(size + 2))[:-2]
            while self._keep(await reader.readline()) != b"\r\n":
                pass
        elif lengths := got.values(b"content-length"):
            body = self._keep(await reader.readexactly(int(lengths[0])))
        self.requests.append(Received(head, body))
        return self.requests[-1]

    def _keep(self, data: bytes) -> bytes:
        self.everything += data
        return data

    async def _answer(self, got: Received, writer: asyncio.StreamWriter) -> None:
        body = b"" if got.head.startswith(b"HEAD ") else f"{self.name} {got.path}".encode("latin-1")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n%s" % (len(body), self.extra, body))
        await writer.drain()


@dataclass
class Stage:
    """The router under attack, the attacker's own model, and the model of somebody else."""

    router: Router
    ours: Witness
    theirs: Witness
    worker: int

    def slot(self, name: str, deployment: str) -> str:
        """The backend that serves a deployment: what an attacker would like to name."""
        slot = self.router.reconciler.slots().find(("team-a", name, deployment))
        assert slot is not None
        return slot

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.router.settings.bind, self.router.settings.inference_port)

    async def send(self, *parts: bytes, quiet: float = QUIET_SECONDS) -> bytes:
        """Send these bytes on a new connection; what came back until it was closed, or until it fell silent."""
        reader, writer = await self.connect()
        answer = b""
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            while data := await asyncio.wait_for(reader.read(65536), quiet):
                answer += data
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
        return answer

    async def send_all(self, attacks: Iterable[bytes]) -> list[bytes]:
        """Send each on a connection of its own, all at once."""
        return await asyncio.gather(*(self.send(attack) for attack in attacks))

    async def assert_unharmed(self) -> None:
        """HAProxy never died, honest callers get their own answers, and the models were told nothing they may not."""
        for number in range(3):
            assert (await self._honest("credit", KEY, number)) == f"{self.ours.name} /honest-{number}"
            assert (await self._honest("fraud", OTHER_KEY, number)) == f"{self.theirs.name} /honest-{number}"
        assert (await self.router.runtime.process_ids())[0] == self.worker
        assert [r.path for r in self.theirs.requests if not r.path.startswith("/honest-")] == []
        for model in (self.ours, self.theirs):
            assert KEY.encode() not in model.everything
            assert OTHER_KEY.encode() not in model.everything
            for request in model.requests:
                assert_well_formed(request)

    async def _honest(self, name: str, key: str, number: int) -> str:
        answer = await self.router.call(name=name, key=key, path=f"/honest-{number}")
        assert answer.status == 200, answer
        return answer.text


def assert_well_formed(request: Received) -> None:
    """Two programs could not read this request in two ways, and nothing in it speaks for the router."""
    for line in request.head.removesuffix(b"\r\n\r\n").split(b"\r\n"):
        assert not re.search(rb"[\r\n\0]", line), request.head
        assert line[:1] not in (b" ", b"\t"), request.head
    lengths, codings = request.values(b"content-length"), request.values(b"transfer-encoding")
    assert len(lengths) + len(codings) <= 1, request.head
    assert all(length.isdigit() for length in lengths), request.head
    assert [c for c in codings if c != b"chunked"] == [], request.head
    names = [line.partition(b":")[0].lower() for line in request.head.split(b"\r\n")[1:]]
    assert [n for n in names if n.startswith((b"x-routerd", b"x-slipway"))] == []
    assert names.count(b"x-request-id") == 1
    assert "smuggled" not in request.path


@pytest.fixture
async def stage(router: Router) -> AsyncIterator[Stage]:
    """`credit` and `fraud` in force, each with one model."""
    ours, theirs = Witness("credit-1", "127.121.0.1"), Witness("fraud-1", "127.121.0.2")
    for witness in (ours, theirs):
        await witness.start()
    route = {"concurrency": 100, "request_timeout_ms": 60_000}
    mine = deployment("blue", replicas=(ours.replica,), **route)
    other = deployment("red", replicas=(theirs.replica,), **route)
    keys = (("primary", key_hash(OTHER_KEY)),)
    await router.serve(endpoint(mine), endpoint(other, name="fraud", keys=keys))
    worker, _ = await router.runtime.process_ids()
    yield Stage(router, ours, theirs, worker)
    for witness in (ours, theirs):
        await witness.stop()


def statuses(answer: bytes) -> list[int]:
    """The status of every HTTP/1 answer in what a connection gave back."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", answer)]
