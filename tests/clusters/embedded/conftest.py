"""A real cluster in this process: real sockets, real containers, short back-offs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clusters.embedded.cluster import Cluster, Options
from clusters.embedded.kubelet.node import BackOff, Isolation
from clusters.embedded.resources import DEPLOYMENTS, EVENTS, PODS, SERVICES, Obj

IMAGE = "python:test"
SERVER = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["ANSWER"].encode())
http.server.ThreadingHTTPServer((os.environ["POD_IP"], 8080), Handler).serve_forever()
"""


def container(command: list[str], **more: Any) -> Obj:
    return {"name": "main", "image": IMAGE, "command": command, **more}


def pod(name: str, *containers: Obj, **spec: Any) -> Obj:
    """A bare pod that is killed half a second after it was asked to end."""
    body = {"terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}
    return {"metadata": {"name": name, "labels": {"app": name}}, "spec": body}


def server_template(name: str, *, answer: str = "1", **spec: Any) -> Obj:
    """A pod template that answers with a word on port 8080 of its own address."""
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "ANSWER", "value": answer},
    ]
    main = container(
        ["python", "-S", "-c", SERVER],
        env=env,
        ports=[{"name": "http", "containerPort": 8080}],
        readinessProbe={"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
    )
    return {"metadata": {"labels": {"app": name}}, "spec": pod(name, main, **spec)["spec"]}


def deployment(name: str, *, replicas: int = 1, answer: str = "1", **spec: Any) -> Obj:
    template = server_template(name, answer=answer)
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return {"metadata": {"name": name}, "spec": body}


def service(name: str, **spec: Any) -> Obj:
    body = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **spec}
    return {"metadata": {"name": name}, "spec": body}


@dataclass
class World:
    """A running cluster and the few things every test asks of it."""

    cluster: Cluster

    def run(self, body: Obj) -> Obj:
        return self.cluster.registry.create(PODS, body, namespace="default")

    def deploy(self, body: Obj) -> Obj:
        return self.cluster.registry.create(DEPLOYMENTS, body, namespace="default")

    def expose(self, body: Obj) -> Obj:
        return self.cluster.registry.create(SERVICES, body, namespace="default")

    def pods(self) -> list[Obj]:
        return self.cluster.registry.list(PODS, "default")

    def find(self, name: str) -> Obj | None:
        return self.cluster.registry.find(PODS, "default", name)

    def get(self, name: str) -> Obj:
        return self.cluster.registry.get(PODS, "default", name)

    def status(self, name: str) -> Obj:
        """Of the pod's first container."""
        statuses = (self.get(name).get("status") or {}).get("containerStatuses") or [{}]
        return statuses[0]

    def log(self, name: str) -> str:
        path = self.cluster.kubelet.log_path("default", name, "main")
        if path is None or not path.exists():
            return ""
        return "\n".join(line.split(" ", 3)[3] for line in path.read_text().splitlines())

    def reasons(self, name: str) -> set[str]:
        """Reasons of all events about one object."""
        events = self.cluster.registry.list(EVENTS, "default")
        return {event["reason"] for event in events if event["involvedObject"]["name"] == name}

    async def until(self, true: Callable[[], Any], *, seconds: float = 20) -> Any:
        """Wait for a condition, looking whenever anything in the cluster changes (and now and then)."""
        changed = asyncio.Event()
        stop = self.cluster.registry.subscribe(lambda _: changed.set())
        try:
            async with asyncio.timeout(seconds):
                while not (found := true()):
                    changed.clear()
                    try:
                        await asyncio.wait_for(changed.wait(), 0.1)
                    except TimeoutError:
                        continue
                return found
        finally:
            stop()

    async def until_ready(self, name: str) -> Obj:
        await self.until(lambda: self.status(name).get("ready"))
        return self.get(name)

    async def until_available(self, name: str, *, replicas: int) -> None:
        def available() -> bool:
            status = self.cluster.registry.get(DEPLOYMENTS, "default", name).get("status") or {}
            counts = [status.get(key, 0) for key in ("availableReplicas", "updatedReplicas", "replicas")]
            return counts == [replicas] * 3

        await self.until(available)


async def http_get(host: str, port: int) -> str:
    """The body of a GET of /, on a connection of its own. Raises OSError, EOFError."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
        finally:
            writer.close()
    if not answer:
        raise EOFError("closed without an answer")
    return answer.rpartition(b"\r\n\r\n")[2].decode()


Starter = Callable[..., Awaitable[World]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Starter]:
    """Starts clusters, below directories whose names have a space in them; all are closed at the end."""
    worlds: list[World] = []

    async def begin(name: str = "data", *, isolation: Isolation | None = None, **more: Any) -> World:
        options = Options(
            data=tmp_path / "with space" / name,
            images={IMAGE: "self", **more.pop("images", {})},
            isolation=isolation,
            back_off=BackOff(base=0.2, cap=1.0, reset_after=600),
            **more,
        )
        world = World(await Cluster.open(options))
        worlds.append(world)
        return world

    yield begin
    for world in worlds:
        await world.cluster.close()


@pytest.fixture
async def world(start: Starter) -> World:
    return await start()
