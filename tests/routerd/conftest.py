"""A real HAProxy with its reconciler, and model servers that count what they are given."""

import asyncio
import inspect
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import aiohttp
import pytest
from lightkube import KubeConfig
from lightkube.core.async_client import AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Namespace

from routerd.access_log import read_log
from routerd.contract import API_VERSION, ROUTER_SERVICE, SYSTEM_NAMESPACE, key_hash, online_endpoint_crd
from routerd.haproxy.maps import HaproxyFiles
from routerd.haproxy.process import HaproxyProcess
from routerd.haproxy.runtime import Runtime
from routerd.reconciler import Reconciler
from routerd.routes import DeploymentRoute, EndpointRoute, Replica, RoutingTable, ScaleSpec
from routerd.settings import Settings
from tests.ports import free_port

KEY = "primary-key-of-alice"
_addresses = itertools.count(1)


@dataclass(frozen=True)
class Seen:
    """One request as a model got it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class ModelServer:
    """One replica: answers after `delay` seconds with its name, and remembers everything."""

    name: str
    address: str
    port: int = 0
    delay: float = 0.0
    status: int = 200
    break_off: bool = False
    seen: list[Seen] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    released: asyncio.Event | None = None  # when set: requests wait for it
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def replica(self) -> Replica:
        return Replica(name=self.name, address=self.address, port=self.port)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End at once, as a killed process does."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while await self._answer_one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await _read_request(reader)
        self.seen.append(seen)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.arrived.set()
        try:
            if self.break_off:
                return False
            if self.released is not None:
                await self.released.wait()
            await asyncio.sleep(self.delay)
            body = self.name.encode()
            head = f"HTTP/1.1 {self.status} X\r\ncontent-length: {len(body)}\r\nx-replica: {self.name}\r\n\r\n"
        finally:
            self.in_flight -= 1
        writer.write(head.encode() + body)
        await writer.drain()
        return True


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:] if line)}
    if "chunked" in headers.get("transfer-encoding", ""):
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(method=method, path=path, headers=headers, body=body)


async def eventually(check: Callable[[], object], *, seconds: float = 15) -> None:
    """Wait until `check` (a plain or async function) says something true of a world that sends no events."""
    pause = 0.01
    for _ in range(int(seconds / pause)):
        found = check()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        await asyncio.sleep(pause)
    raise AssertionError(f"still not so after {seconds} s: {check}")


StartModel = Callable[..., Awaitable[ModelServer]]


@pytest.fixture
async def start_model() -> AsyncIterator[StartModel]:
    """Start model servers on addresses of their own; they end with the test."""
    started: list[ModelServer] = []

    async def start(name: str, **options: object) -> ModelServer:
        number = next(_addresses)
        model = ModelServer(name=name, address=f"127.120.{number // 250}.{number % 250 + 1}", **options)  # type: ignore[arg-type]
        await model.start()
        started.append(model)
        return model

    yield start
    for model in started:
        await model.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A router of few slots on a free port."""
    return Settings(
        run_dir=tmp_path / "run",
        inference_port=free_port(),
        admin_port=free_port(),
        slots={100: 2, 500: 4, 2000: 4, 60000: 4},
        slot_rest_seconds=0.5,
        hold_seconds=10,
        drain_seconds=0.1,
        grace_seconds=5,
        max_body_bytes=1_000_000,
        log_sample=1,
        leader_election=False,
    )


def deployment(name: str, *models: ModelServer, **changes: object) -> DeploymentRoute:
    """A deployment of these replicas: C=1, 10 may wait 2 s."""
    route = DeploymentRoute(
        name=name,
        service=f"service-{name}",
        workload=f"workload-{name}",
        concurrency=1,
        max_queue=10,
        max_queue_wait_ms=2000,
        request_timeout_ms=5000,
        scale=ScaleSpec(mode="fixed", min=1, max=4),
        replicas=tuple(m.replica for m in models),
    )
    return replace(route, **changes)  # type: ignore[arg-type]


def endpoint(*deployments: DeploymentRoute, name: str = "credit", **changes: object) -> EndpointRoute:
    """An endpoint with one key, whose traffic all goes to the first deployment."""
    route = EndpointRoute(
        namespace="team-a",
        name=name,
        uid=f"uid-{name}",
        generation=1,
        auth_mode="key",
        key_revision=1,
        keys=(("primary", key_hash(KEY)),),
        traffic=((deployments[0].name, 100),) if deployments else (),
        deployments=deployments,
    )
    return replace(route, **changes)  # type: ignore[arg-type]


@dataclass
class Router:
    """HAProxy and the reconciler that owns it, and a way to call them."""

    settings: Settings
    process: HaproxyProcess
    runtime: Runtime
    reconciler: Reconciler
    session: aiohttp.ClientSession

    async def serve(self, *endpoints: EndpointRoute) -> None:
        """Offer a table, and wait until all of it is in force."""
        self.reconciler.offer(RoutingTable(endpoints=endpoints))
        await self.wait_for(lambda: self._in_force(endpoints))

    def _in_force(self, endpoints: tuple[EndpointRoute, ...]) -> bool:
        found = self.reconciler.in_force()
        return self.reconciler.settled() and found.keys() == {e.key for e in endpoints}

    async def wait_for(self, condition: Callable[[], bool], *, seconds: float = 10) -> None:
        """Wait until what is in force satisfies a condition."""
        async with asyncio.timeout(seconds):
            seen = 0
            while not condition():
                seen = await self.reconciler.wait_change(seen=seen)

    async def call(
        self,
        *,
        name: str = "credit",
        path: str = "/score",
        key: str | None = KEY,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        data: object = b"{}",
    ) -> "Answer":
        """One request to the inference port."""
        bearer = {"authorization": f"Bearer {key}"} if key is not None else {}
        url = f"http://{self.settings.bind}:{self.settings.inference_port}/api/v1/endpoint/{name}{path}"
        request = self.session.request(method, url, headers={**bearer, **(headers or {})}, data=data)
        async with request as response:
            return Answer(response.status, response.headers, await response.text())

    async def logged(self, count: int) -> list[bytes]:
        """The next lines of HAProxy's access log, at least so many of them."""
        found: list[bytes] = []
        async with asyncio.timeout(10), aclosing(read_log(self.settings.log_pipe)) as log:
            async for lines in log:
                found += lines
                if len(found) >= count:
                    break
        return found


@dataclass(frozen=True)
class Answer:
    """What a caller got."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def reason(self) -> str | None:
        return self.headers.get("x-slipway-reason")


@pytest.fixture
def haproxy(settings: Settings) -> Iterator[HaproxyProcess]:
    """A running HAProxy without any endpoint."""
    files = HaproxyFiles(settings)
    files.prepare()
    process = HaproxyProcess(settings, files)
    process.start()
    process.wait_ready(timeout_seconds=10)
    yield process
    process.send(signal.SIGTERM)
    if not process.wait_ended(timeout_seconds=5):
        process.send(signal.SIGKILL)
        process.wait_ended(timeout_seconds=5)
    process.close()


@pytest.fixture
async def router(settings: Settings, haproxy: HaproxyProcess) -> AsyncIterator[Router]:
    """HAProxy with its reconciler running in this process."""
    runtime = Runtime(settings.admin_socket)
    reconciler = Reconciler(settings, files=HaproxyFiles(settings), runtime=runtime)
    work = asyncio.create_task(reconciler.run())
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Router(settings, haproxy, runtime, reconciler, session)
    assert not work.done() or work.exception() is None
    work.cancel()


@dataclass
class ApiServer:
    """A real API server (the embedded cluster without its model pods) that can be stopped and started again."""

    data: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    async def start(self) -> None:
        command = [sys.executable, "-m", "clusters.embedded", "--data", str(self.data), "--no-isolation"]
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        ready = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 20))
        assert ready["ready"]

    async def stop(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()

    def client(self) -> AsyncClient:
        config = KubeConfig.from_file(self.kubeconfig).get()
        return AsyncClient(config=config, field_manager="slipway", trust_env=False)


@pytest.fixture
async def api_server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A running API server that knows our custom resources and has the namespaces team-a and team-b."""
    server = ApiServer(tmp_path / "cluster")
    await server.start()
    client = server.client()
    await client.create(cast("CustomResourceDefinition", CustomResourceDefinition.from_dict(online_endpoint_crd())))
    for name in (SYSTEM_NAMESPACE, "team-a", "team-b"):
        await client.create(Namespace(metadata=ObjectMeta(name=name)))
    yield server
    await client.close()
    await server.stop()


def online_endpoint(name: str = "credit", *, namespace: str = "team-a", **spec: object) -> dict[str, object]:
    """An open OnlineEndpoint as an object, all traffic to `blue`."""
    blue = {
        "name": "blue",
        "service": f"{name}--blue",
        "workload": f"{name}--blue",
        "maxConcurrentRequestsPerInstance": 4,
        "maxQueue": 50,
        "maxQueueWaitMs": 60_000,
        "requestTimeoutMs": 5000,
        "scale": {"mode": "fixed", "min": 1, "max": 1},
    }
    whole = {"auth": {"mode": "none"}, "traffic": {"blue": 100}, "deployments": [blue]}
    return {
        "apiVersion": API_VERSION,
        "kind": "OnlineEndpoint",
        "metadata": {"namespace": namespace, "name": name},
        "spec": whole | spec,
    }


def endpoint_slice(
    *models: ModelServer, name: str = "credit", namespace: str = "team-a", ready: bool = True
) -> dict[str, object]:
    """The EndpointSlice of `name`'s deployment blue with these replicas, which all listen on one port."""
    endpoints = [
        {"addresses": [m.address], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": m.name}}
        for m in models
    ]
    labels = {"kubernetes.io/service-name": f"{name}--blue"}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": namespace, "name": f"{name}--blue-x", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": models[0].port if models else 5001, "protocol": "TCP"}],
        "endpoints": endpoints,
    }


def router_slice(**routers: str) -> dict[str, object]:
    """The EndpointSlice of the routers' Service: pod name -> address of those that are ready."""
    endpoints = [
        {"addresses": [address], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": name}}
        for name, address in routers.items()
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": SYSTEM_NAMESPACE,
            "name": "slipway-router-x",
            "labels": {"kubernetes.io/service-name": ROUTER_SERVICE},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }
