"""`python -m routerd` against a real API server: objects in, requests answered, status out."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from lightkube.core.async_client import AsyncClient
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap
from lightkube.types import PatchType

from routerd.admin.server import run_admin
from routerd.contract import SYSTEM_NAMESPACE, TARGETS_CONFIGMAP, key_hash
from routerd.kubernetes import EndpointSlice, OnlineEndpoint, connect
from routerd.settings import Settings
from tests.ports import free_port
from tests.routerd.conftest import (
    ApiServer,
    StartModel,
    endpoint_slice,
    eventually,
    online_endpoint,
)
from tests.routerd.peers import run_router


@pytest.fixture
async def kube(api_server: ApiServer) -> AsyncIterator[AsyncClient]:
    client = api_server.client()
    data = {"namespaces": "team-a\nteam-b\n"}
    metadata = ObjectMeta(name=TARGETS_CONFIGMAP, namespace=SYSTEM_NAMESPACE)
    await client.create(ConfigMap(metadata=metadata, data=data))
    yield client
    await client.close()


class Caller:
    """Calls the endpoint credit of a running routerd."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}/api/v1/endpoint"

    async def text(self, *, key: str = "k", name: str = "credit") -> str:
        """The model's answer, or `status N`, or `refused`."""
        headers = {"authorization": f"Bearer {key}"}
        with suppress(aiohttp.ClientError):
            async with self._session.post(f"{self._url}/{name}/score", data=b"{}", headers=headers) as answer:
                return await answer.text() if answer.status == 200 else f"status {answer.status}"
        return "refused"

    async def until(self, expected: str, *, key: str = "k", name: str = "credit") -> float:
        """Call until the answer is the expected one; seconds it took."""
        start = time.monotonic()

        async def so() -> bool:
            return await self.text(key=key, name=name) == expected

        await eventually(so)
        return time.monotonic() - start


@pytest.fixture
async def caller(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Caller]:
    """routerd, running on the API server, with nothing to route yet."""
    port = free_port()
    options = ["--kubeconfig", str(api_server.kubeconfig), "--run-dir", str(tmp_path / "run")]
    options += ["--bind", "127.0.0.1", "--inference-port", str(port), "--admin-port", str(free_port())]
    options += ["--drain-seconds", "0", "--slots", "500:4,60000:8", "--admin-token", "t"]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "routerd", *options)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Caller(session, port)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0


def with_key(key: str, *, revision: int) -> dict[str, Any]:
    return {"mode": "key", "keyRevision": revision, "keys": [{"name": "primary", "sha256": key_hash(key)}]}


async def test_an_endpoint_is_served_and_its_replicas_and_keys_change_within_a_second(
    kube: AsyncClient, caller: Caller, start_model: StartModel
) -> None:
    one = await start_model("blue-1")
    two = await start_model("blue-2", port=one.port)
    await kube.create(OnlineEndpoint(online_endpoint(auth=with_key("k", revision=1))))
    await kube.create(EndpointSlice(endpoint_slice(one)))
    await caller.until("blue-1")

    await kube.replace(EndpointSlice(endpoint_slice(two)))
    assert await caller.until("blue-2") < 1

    change = {"spec": {"auth": with_key("new", revision=2)}}
    await kube.patch(OnlineEndpoint, "credit", change, namespace="team-a", patch_type=PatchType.MERGE)
    assert await caller.until("blue-2", key="new") < 1
    assert await caller.until("status 401") < 1

    await kube.delete(OnlineEndpoint, "credit", namespace="team-a")
    assert await caller.until("status 404") < 1


async def test_the_status_says_what_haproxy_runs(kube: AsyncClient, caller: Caller, start_model: StartModel) -> None:
    one = await start_model("blue-1")
    await kube.create(OnlineEndpoint(online_endpoint()))

    async def reason() -> str | None:
        item = (await kube.get(OnlineEndpoint, "credit", namespace="team-a")).to_dict()
        conditions = (item.get("status") or {}).get("conditions") or []
        return next((c["reason"] for c in conditions if c["type"] == "Ready"), None)

    async def no_replica() -> bool:
        return await reason() == "NoReadyReplica"

    async def answering() -> bool:
        return await reason() == "Answering"

    await eventually(no_replica)
    await kube.create(EndpointSlice(endpoint_slice(one)))
    await eventually(answering)
    assert await caller.text() == "blue-1"


async def test_routing_goes_on_without_the_api_server_and_follows_it_when_it_is_back(
    api_server: ApiServer, kube: AsyncClient, caller: Caller, start_model: StartModel
) -> None:
    one = await start_model("blue-1")
    two = await start_model("blue-2", port=one.port)
    await kube.create(OnlineEndpoint(online_endpoint()))
    await kube.create(EndpointSlice(endpoint_slice(one)))
    await caller.until("blue-1")

    counts: Counter[str] = Counter()
    await api_server.stop()
    for _ in range(100):
        counts[await caller.text()] += 1
        await asyncio.sleep(0.01)
    await api_server.start()
    again = api_server.client()
    await again.replace(EndpointSlice(endpoint_slice(two)))
    await again.close()

    assert counts == {"blue-1": 100}
    await caller.until("blue-2")


async def test_a_lost_api_server_is_told_while_the_last_table_stays_in_force(
    api_server: ApiServer, kube: AsyncClient, settings: Settings, start_model: StartModel
) -> None:
    await kube.create(OnlineEndpoint(online_endpoint()))
    await kube.create(EndpointSlice(endpoint_slice(await start_model("blue-1"))))
    used = replace(settings, kubeconfig=api_server.kubeconfig, namespaces=("team-a",), admin_token="t")
    client = connect(used)
    async with run_router(used, parts=[run_admin], kube=client) as (router, daemon):
        await eventually(daemon.ready)
        url = f"http://{used.bind}:{used.admin_port}"

        async def told() -> tuple[bool, bool, bool]:
            headers = {"x-slipway-token": "t"}
            async with router.session.get(f"{url}/v1/table", headers=headers) as answer:
                table = await answer.json()
            async with router.session.get(f"{url}/metrics", headers=headers) as answer:
                counted = "routerd_api_server_lost_seconds 0\n" not in await answer.text()
            return table["apiServerLostAt"] is not None, counted, table["ready"]

        assert await told() == (False, False, True)
        await api_server.stop()

        async def lost() -> bool:
            return await told() == (True, True, True)  # and callers are still sent here

        await eventually(lost)
        assert (await router.call(key=None)).text == "blue-1"
        await api_server.start()

        async def found() -> bool:
            return await told() == (False, False, True)

        await eventually(found, seconds=30)
    assert client is not None
    await client.close()


async def test_the_same_name_in_two_namespaces_is_served_by_the_older(
    kube: AsyncClient, caller: Caller, start_model: StartModel
) -> None:
    older, younger = await start_model("older-1"), await start_model("younger-1")
    await kube.create(OnlineEndpoint(online_endpoint()))
    await kube.create(EndpointSlice(endpoint_slice(older)))
    await caller.until("older-1")
    await asyncio.sleep(1.1)  # creation times are whole seconds

    await kube.create(OnlineEndpoint(online_endpoint(namespace="team-b")))
    await kube.create(EndpointSlice(endpoint_slice(younger, namespace="team-b")))

    async def told() -> bool:
        item = (await kube.get(OnlineEndpoint, "credit", namespace="team-b")).to_dict()
        conditions = (item.get("status") or {}).get("conditions") or []
        return [c["reason"] for c in conditions if c["type"] == "Ready"] == ["NameTaken"]

    await eventually(told)
    assert await caller.text() == "older-1"
    await kube.delete(OnlineEndpoint, "credit", namespace="team-a")
    await caller.until("younger-1")
