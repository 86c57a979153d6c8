"""A real API server on loopback: TLS, tokens, SQLite in a temp directory; logs come from plain files."""

import asyncio
import io
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clusters.embedded import auth, tls
from clusters.embedded.registry import Registry
from clusters.embedded.server import Server, build_app, serve
from clusters.embedded.store import Store


@dataclass
class LogFiles:
    """The kubelet's side of logs: a directory of files, and who has finished."""

    directory: Path
    finished: dict[tuple[str, str, str], asyncio.Event] = field(default_factory=dict)

    def log_path(self, namespace: str, pod: str, container: str, previous: bool = False) -> Path | None:
        return self.directory / f"{namespace}-{pod}-{container}{'.1' if previous else ''}"

    async def log_finished(self, namespace: str, pod: str, container: str) -> None:
        await self.end_of(pod, container, namespace=namespace).wait()

    def end_of(self, pod: str, container: str, *, namespace: str = "default") -> asyncio.Event:
        return self.finished.setdefault((namespace, pod, container), asyncio.Event())


@dataclass
class Cluster:
    """The running server and an administrator's view of it."""

    registry: Registry
    server: Server
    authenticator: auth.Authenticator
    identity: tls.Identity
    token: str
    logs: LogFiles
    session: aiohttp.ClientSession
    directory: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.port}"

    @property
    def kubeconfig(self) -> Path:
        path = self.directory / "kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.identity.authority)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": self.token}}],
        }
        path.write_text(json.dumps(document))
        return path

    async def ask(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", **headers: str
    ) -> tuple[int, Any]:
        """(status, JSON) of one request."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        data = None if raw is None else io.BytesIO(raw)
        sent = {"Authorization": f"Bearer {self.token}", "Content-Type": kind} | headers
        async with self.session.request(method, self.url + path, data=data, headers=sent) as response:
            return response.status, json.loads(await response.read())

    async def get(self, path: str, **headers: str) -> Any:
        status, found = await self.ask("GET", path, **headers)
        assert status == 200, found
        return found

    async def post(self, path: str, body: Any) -> Any:
        status, made = await self.ask("POST", path, body)
        assert status == 201, made
        return made

    async def apply(self, path: str, body: Any, *, manager: str, force: bool = False) -> tuple[int, Any]:
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return await self.ask("PATCH", path + query, body, kind="application/apply-patch+yaml")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    registry = Registry(Store(tmp_path / "state.sqlite"))
    identity = tls.ensure(tmp_path / "tls", addresses=("127.0.0.1",), now=datetime.now(UTC))
    token = auth.read_or_make_token(tmp_path / "token")
    key = auth.read_or_make_key(tmp_path / "tls" / "service-account.key")
    authenticator = auth.Authenticator(admin_token=token, key=key, find=registry.find, clock=registry.clock)
    logs = LogFiles(tmp_path)
    app = build_app(registry, authenticator=authenticator, pod_access=logs)
    server = await serve(app, identity=identity)
    context = ssl.create_default_context(cafile=str(identity.authority))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield Cluster(registry, server, authenticator, identity, token, logs, session, tmp_path)
    await server.close()
    registry.close()
