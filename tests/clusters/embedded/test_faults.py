"""Faults are had when asked for, over the API, and are over when taken back."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from clusters.embedded.errors import BadRequest
from clusters.embedded.faults import Settings, changed
from clusters.embedded.kubelet.node import plans_for
from clusters.embedded.resources import CONFIG_MAPS, NODES
from tests.clusters.embedded.conftest import Starter, World, container, deployment, pod, service
from tests.clusters.embedded.test_cluster import ready_addresses

PATH = "/api/v1/namespaces/default/configmaps"


@pytest.mark.parametrize("patch", [[], {"nothing": 1}, {"errorRate": "half"}, {"errorsAfter": 1}, {"lostNodes": "a"}])
def test_what_is_no_fault_is_refused(patch: Any) -> None:
    with pytest.raises(BadRequest):
        changed(Settings(), patch)


class Client:
    def __init__(self, world: World, session: aiohttp.ClientSession) -> None:
        self.world, self.session = world, session

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.session.request(method, path, json=body) as answer:
            return answer.status, json.loads(await answer.text())

    async def set(self, **faults: Any) -> None:
        assert (await self.ask("PATCH", "/faults", faults))[0] == 200


@pytest.fixture
async def client(start: Starter) -> AsyncIterator[Client]:
    world = await start(faults=True, nodes=plans_for(2, described=()), node_grace=1.0)
    token = (world.cluster.data / "token").read_text().strip()
    connector = aiohttp.TCPConnector(
        ssl=ssl.create_default_context(cafile=str(world.cluster.identity.authority)), force_close=True
    )
    headers, timeout = {"Authorization": f"Bearer {token}"}, aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(
        world.cluster.url, headers=headers, connector=connector, timeout=timeout
    ) as session:
        yield Client(world, session)


async def test_a_share_of_requests_fails_and_none_of_them_did_anything(client: Client) -> None:
    await client.set(errorRate=1, errorCode=500)
    status, answer = await client.ask("POST", PATH, {"metadata": {"name": "a"}})
    assert (status, answer["kind"], answer["code"]) == (500, "Status", 500)
    assert client.world.cluster.registry.find(CONFIG_MAPS, "default", "a") is None
    await client.set(errorsAfter=True)
    assert (await client.ask("POST", PATH, {"metadata": {"name": "a"}}))[0] == 500
    assert client.world.cluster.registry.find(CONFIG_MAPS, "default", "a") is not None
    assert (await client.ask("DELETE", "/faults"))[0] == 200
    assert (await client.ask("GET", PATH))[0] == 200


async def test_a_paused_server_answers_late(client: Client) -> None:
    await client.set(pauseSeconds=0.7)
    began = time.monotonic()
    assert (await client.ask("GET", PATH))[0] == 200
    assert time.monotonic() - began > 0.6


async def test_watches_are_late_and_can_be_cut(client: Client) -> None:
    async with client.session.get(PATH, params={"watch": "1", "resourceVersion": "1"}) as watch:
        await client.set(watchDelaySeconds=0.5)
        began = time.monotonic()
        await client.ask("POST", PATH, {"metadata": {"name": "a"}})
        seen = json.loads(await watch.content.readline())
        while seen["object"]["metadata"]["name"] != "a":
            seen = json.loads(await watch.content.readline())
        assert time.monotonic() - began > 0.4
        assert (await client.ask("POST", "/faults/drop-watches"))[1] == {"dropped": 1}
        with pytest.raises((aiohttp.ClientError, OSError)):
            await watch.content.read()


async def test_an_image_is_slow_and_endpoint_slices_come_late(client: Client) -> None:
    world = client.world
    await client.set(imagePullSeconds=0.5)
    world.run(pod("slow", container(["sleep", "1000"])))
    await world.until(lambda: "Pulling" in world.reasons("slow"))
    assert not world.status("slow").get("started")
    await world.until_ready("slow")
    await client.set(imagePullSeconds=0, endpointSliceSeconds=4.0)
    world.deploy(deployment("web"))
    world.expose(service("web"))
    await world.until_available("web", replicas=1)
    assert not ready_addresses(world, "web")
    await world.until(lambda: ready_addresses(world, "web"))


async def test_a_node_is_lost_and_found(client: Client) -> None:
    def ready() -> str:
        conditions = client.world.cluster.registry.get(NODES, None, "local-2")["status"]["conditions"]
        return str(next(c["status"] for c in conditions if c["type"] == "Ready"))

    assert (await client.ask("PATCH", "/faults", {"lostNodes": ["nobody"]}))[0] == 400
    await client.set(lostNodes=["local-2"])
    await client.world.until(lambda: ready() == "Unknown")
    await client.ask("DELETE", "/faults")
    await client.world.until(lambda: ready() == "True")


async def test_without_the_option_there_is_no_such_path(world: World) -> None:
    trust = ssl.create_default_context(cafile=str(world.cluster.identity.authority))
    token = (world.cluster.data / "token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{world.cluster.url}/faults", ssl=trust) as answer,
    ):
        assert answer.status == 404
