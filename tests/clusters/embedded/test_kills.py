"""kill -9 at any moment, under writes: what was acknowledged is there, numbers go on, no process is left behind."""

import asyncio
import json
import random
import signal
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.clusters.embedded.conftest import IMAGE, container

ROOT = Path(__file__).resolve().parents[3]
WRITERS = 6
MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"


@dataclass
class Ledger:
    """What the server has said yes to, and the one thing each writer does not know the answer of."""

    known: dict[str, int | None] = field(default_factory=dict)  # name -> value; None: deleted
    pending: dict[str, int | None] = field(default_factory=dict)
    revision: int = 0
    acknowledged: int = 0


class Server:
    """The cluster as a process of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = (data.parent / "log").open("a")

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clusters.embedded", "--data", str(self.data), "--image", f"{IMAGE}=self"),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=self.log,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            line = await self.process.stdout.readline()
        assert line, (self.data.parent / "log").read_text()[-3000:]
        self.url = json.loads(line)["server"]

    async def end(self, number: signal.Signals) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(30):
            await self.process.wait()

    def session(self) -> aiohttp.ClientSession:
        trust = ssl.create_default_context(cafile=str(self.data / "tls" / "ca.crt"))
        token = (self.data / "token").read_text().strip()
        return aiohttp.ClientSession(
            self.url,
            connector=aiohttp.TCPConnector(ssl=trust),
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=20),
        )


async def ask(session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else None
    async with session.request(method, path, json=body, headers=headers) as answer:
        found = await answer.json()
        assert answer.status < 300, found
        return found


async def write(session: aiohttp.ClientSession, ledger: Ledger, *, name: str) -> None:
    """Make, change and delete one object for ever, until the server is gone."""
    while True:
        before = ledger.known.get(name)
        value: int | None = (before or 0) + 1
        if before is not None and random.random() < 0.1:  # noqa: S311 - variety, not secrecy
            value = None
        ledger.pending[name] = value
        if value is None:
            answer = await ask(session, "DELETE", f"{MAPS}/{name}")
        elif before is None:
            answer = await ask(session, "POST", MAPS, {"metadata": {"name": name}, "data": {"value": str(value)}})
        else:
            answer = await ask(session, "PATCH", f"{MAPS}/{name}", {"data": {"value": str(value)}})
        ledger.known[name] = value
        del ledger.pending[name]
        ledger.acknowledged += 1
        ledger.revision = max(ledger.revision, int((answer.get("metadata") or {}).get("resourceVersion") or 0))


async def check(session: aiohttp.ClientSession, ledger: Ledger) -> None:
    """Everything acknowledged is there; of what was under way, all of it or nothing."""
    found = await ask(session, "GET", MAPS)
    assert int(found["metadata"]["resourceVersion"]) >= ledger.revision
    values = {item["metadata"]["name"]: int(item.get("data", {}).get("value", 0)) for item in found["items"]}
    for name, known in ledger.known.items():
        now = values.get(name)
        allowed = {known, ledger.pending[name]} if name in ledger.pending else {known}
        assert now in allowed, f"{name} is {now}, not {allowed}"
        ledger.known[name] = now
    for name in set(ledger.pending) - set(ledger.known):
        ledger.known[name] = values.get(name)
    ledger.pending.clear()


def shims(data: Path) -> set[Path]:
    """Attempt directories of the containers of this cluster that have a process."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            found |= {Path(word.decode()) for word in words if word.startswith(str(data / "pods").encode())}
    return found


def workload(version: int) -> dict[str, Any]:
    main = container(["sleep", "1000"], env=[{"name": "VERSION", "value": str(version)}])
    spec = {"containers": [main], "terminationGracePeriodSeconds": 1}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "metadata": {"name": "web"},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
    }


async def run_rounds(data: Path, *, rounds: int) -> None:
    server, ledger = Server(data), Ledger()
    await server.start()
    try:
        async with server.session() as session:
            await ask(session, "POST", DEPLOYMENTS, workload(0))
        for turn in range(rounds):
            await one_round(server, ledger, version=turn + 1)
            await server.start()
            async with server.session() as session:
                await check(session, ledger)
                running = shims(data)
                assert len(running) == len({attempt.parent for attempt in running}), "two copies of one container"
        async with server.session() as session:
            await settle(session, data)
            await ask(session, "DELETE", f"{DEPLOYMENTS}/web")
            await until(lambda: not shims(data), what="processes to end")
    finally:
        await server.end(signal.SIGTERM)
        server.log.close()
    assert ledger.acknowledged > rounds * WRITERS
    assert not shims(data)


async def one_round(server: Server, ledger: Ledger, *, version: int) -> None:
    """Writes from all sides and a rollout; in the middle of it the server is killed."""
    enough = ledger.acknowledged + WRITERS
    async with server.session() as session:
        writers = [asyncio.create_task(write(session, ledger, name=f"map-{number}")) for number in range(WRITERS)]
        await ask(session, "PATCH", f"{DEPLOYMENTS}/web", {"spec": {"template": workload(version)["spec"]["template"]}})
        await until(
            lambda: ledger.acknowledged > enough or any(w.done() for w in writers), what="writes to be answered"
        )
        await asyncio.sleep(random.uniform(0.0, 0.5))  # noqa: S311 - at any moment
        await server.end(signal.SIGKILL)
        ends = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(end, aiohttp.ClientError | OSError) for end in ends), ends


async def settle(session: aiohttp.ClientSession, data: Path) -> None:
    """In the end exactly the pods that are wanted run, each once."""

    async def settled() -> bool:
        pods = (await ask(session, "GET", PODS))["items"]
        ready = [p for p in pods if any(c.get("ready") for c in p["status"].get("containerStatuses") or ())]
        return len(pods) == len(ready) == len(shims(data)) == 3

    async with asyncio.timeout(40):
        while not await settled():  # noqa: ASYNC110 - it is another process we look at
            await asyncio.sleep(0.1)


async def until(true: Any, *, what: str) -> None:
    try:
        async with asyncio.timeout(30):
            while not true():  # noqa: ASYNC110 - it is another process we look at
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited for {what}") from None


async def test_five_kills_under_writes_lose_nothing(tmp_path: Path) -> None:
    await run_rounds(tmp_path / "data", rounds=5)


@pytest.mark.slow
async def test_fifty_kills_under_writes_lose_nothing(tmp_path: Path) -> None:
    await run_rounds(tmp_path / "data", rounds=50)
