"""From a real API server to routing tables."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from routerd.contract import SYSTEM_NAMESPACE, TARGETS_CONFIGMAP
from routerd.kubernetes import EndpointSlice, OnlineEndpoint, Secret, connect
from routerd.peers import Peer, Ring
from routerd.routes import Object, RoutingTable
from routerd.settings import Settings
from routerd.watch import Watcher, parse_targets
from tests.routerd.conftest import (
    ApiServer,
    StartModel,
    endpoint_slice,
    eventually,
    online_endpoint,
    router_slice,
)


@dataclass
class Tables:
    """What a watcher offered."""

    offered: list[RoutingTable] = field(default_factory=list)
    rings: list[Ring] = field(default_factory=list)
    secrets: list[Mapping[str, Object]] = field(default_factory=list)

    def inbox(self) -> dict[str, Any]:
        """Where a watcher leaves what it sees."""
        return {
            "offer": self.offered.append,
            "offer_ring": self.rings.append,
            "offer_secrets": self.secrets.append,
        }

    def now(self) -> dict[str, list[str]]:
        """Endpoint -> names of the replicas of its first deployment, in the newest table."""
        if not self.offered:
            return {}
        return {e.key: [r.name for d in e.deployments[:1] for r in d.replicas] for e in self.offered[-1].endpoints}


@pytest.fixture
async def kube(api_server: ApiServer) -> AsyncIterator[AsyncClient]:
    client = api_server.client()
    yield client
    await client.close()


Watch = Callable[..., Tables]


@pytest.fixture
async def watch(api_server: ApiServer, settings: Settings) -> AsyncIterator[Watch]:
    """Start a watcher for some namespaces (none: those of the ConfigMap)."""
    clients, tasks = [], []

    def start(*namespaces: str) -> Tables:
        tables = Tables()
        used = replace(settings, kubeconfig=api_server.kubeconfig, namespaces=namespaces)
        client = connect(used)
        assert client is not None
        watcher = Watcher(used, client=client, **tables.inbox())
        clients.append(client)
        tasks.append(asyncio.create_task(watcher.run()))
        return tables

    yield start
    for task in tasks:
        assert not task.done() or task.exception() is None
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        await client.close()


async def create(kube: AsyncClient, *objects: dict[str, object]) -> None:
    for item in objects:
        kind = OnlineEndpoint if item["kind"] == "OnlineEndpoint" else EndpointSlice
        await kube.create(kind(item))


async def write_targets(kube: AsyncClient, *namespaces: str) -> None:
    data = {"namespaces": "# compute targets\n" + "\n".join(namespaces) + "\n"}
    metadata = ObjectMeta(name=TARGETS_CONFIGMAP, namespace=SYSTEM_NAMESPACE)
    await kube.apply(ConfigMap(metadata=metadata, data=data), force=True)


async def test_endpoints_and_replicas_are_followed(kube: AsyncClient, watch: Watch, start_model: StartModel) -> None:
    one, two = await start_model("blue-1"), await start_model("blue-2")
    two.port = one.port
    await create(kube, online_endpoint(), endpoint_slice(one))
    tables = watch("team-a")

    await eventually(lambda: tables.now() == {"team-a/credit": ["blue-1"]})
    await kube.replace(EndpointSlice(endpoint_slice(one, two)))
    await eventually(lambda: tables.now() == {"team-a/credit": ["blue-1", "blue-2"]})
    await kube.replace(EndpointSlice(endpoint_slice(one, two, ready=False)))
    await eventually(lambda: tables.now() == {"team-a/credit": []})
    await create(kube, online_endpoint("fraud"))
    await eventually(lambda: tables.now() == {"team-a/credit": [], "team-a/fraud": []})
    await kube.delete(OnlineEndpoint, "credit", namespace="team-a")
    await eventually(lambda: tables.now() == {"team-a/fraud": []})


async def test_namespaces_follow_the_configmap(kube: AsyncClient, watch: Watch) -> None:
    await create(kube, online_endpoint(), online_endpoint("fraud", namespace="team-b"))
    tables = watch()
    await write_targets(kube, "team-a")

    await eventually(lambda: tables.now().keys() == {"team-a/credit"})
    await write_targets(kube, "team-a", "team-b")
    await eventually(lambda: tables.now().keys() == {"team-a/credit", "team-b/fraud"})
    await write_targets(kube, "team-b")
    await eventually(lambda: tables.now().keys() == {"team-b/fraud"})


async def test_a_deleted_configmap_removes_nothing(kube: AsyncClient, watch: Watch) -> None:
    await create(kube, online_endpoint())
    await write_targets(kube, "team-a")
    tables = watch()
    await eventually(lambda: tables.now().keys() == {"team-a/credit"})

    await kube.delete(ConfigMap, TARGETS_CONFIGMAP, namespace=SYSTEM_NAMESPACE)
    await create(kube, online_endpoint("fraud"))

    await eventually(lambda: tables.now().keys() == {"team-a/credit", "team-a/fraud"})


async def test_no_table_is_made_before_every_namespace_was_listed(kube: AsyncClient, watch: Watch) -> None:
    for number in range(20):
        await create(kube, online_endpoint(f"a{number}"), online_endpoint(f"b{number}", namespace="team-b"))

    tables = watch("team-a", "team-b")
    await eventually(lambda: tables.offered)

    assert len(tables.offered[0].endpoints) == 40


async def test_a_lost_api_server_changes_nothing_and_is_followed_again_when_it_is_back(
    api_server: ApiServer, kube: AsyncClient, watch: Watch
) -> None:
    await create(kube, online_endpoint())
    tables = watch("team-a")
    await eventually(lambda: tables.now().keys() == {"team-a/credit"})

    await api_server.stop()
    await asyncio.sleep(1)
    assert tables.now().keys() == {"team-a/credit"}
    await api_server.start()
    fresh = api_server.client()
    await create(fresh, online_endpoint("fraud"))
    await fresh.close()

    await eventually(lambda: tables.now().keys() == {"team-a/credit", "team-a/fraud"}, seconds=20)
    assert all(t.endpoints for t in tables.offered)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"namespaces": "team-a\n\n  team-b  # of Bob\n# nobody\n"}, {"team-a", "team-b"}),
        ({"namespaces": ""}, set()),
        ({}, set()),
        (None, set()),
    ],
)
def test_the_list_of_namespaces_is_one_a_line(data: dict[str, str] | None, expected: set[str]) -> None:
    assert parse_targets({"data": data}) == expected


async def test_a_namespace_that_refuses_to_be_listed_does_not_keep_the_others_from_being_served(
    api_server: ApiServer, settings: Settings, start_model: StartModel
) -> None:
    blue = await start_model("blue-1")
    tables = Tables()
    used = replace(settings, kubeconfig=api_server.kubeconfig, namespaces=("forbidden", "team-a"))
    kube, client = api_server.client(), connect(used)
    assert client is not None
    await kube.create(OnlineEndpoint(online_endpoint()))
    await kube.create(EndpointSlice(endpoint_slice(blue)))
    forbidding: Any = _Forbidding(client)
    watcher = Watcher(used, client=forbidding, **tables.inbox())

    work = asyncio.create_task(watcher.run())
    await eventually(lambda: tables.now() == {"team-a/credit": ["blue-1"]})

    work.cancel()
    await client.close()
    await kube.close()


class _Forbidding:
    """The client of a router that has no rights in one namespace; the API server of these tests grants all."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    def list(self, resource: object, *, namespace: str, **options: object) -> object:
        if namespace == "forbidden":
            status = {"code": 403, "message": "forbidden", "reason": "Forbidden"}
            request = httpx2.Request("GET", "http://api/")
            raise ApiError(request=request, response=httpx2.Response(403, json=status, request=request))
        return self._client.list(resource, namespace=namespace, **options)  # type: ignore[call-overload]

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


async def test_routers_find_each_other_by_the_ready_pods_of_their_service(
    api_server: ApiServer, settings: Settings, kube: AsyncClient
) -> None:
    tables = Tables()
    used = replace(settings, kubeconfig=api_server.kubeconfig, namespaces=("team-a",), peer_port=9903, pod_name="r1")
    client = connect(used)
    assert client is not None
    watcher = Watcher(used, client=client, **tables.inbox())
    work = asyncio.create_task(watcher.run())
    await eventually(lambda: tables.rings[-1:] == [Ring(me="r1")])

    await kube.create(EndpointSlice(router_slice(r1="10.0.0.1", r2="10.0.0.2")))
    await create(kube, endpoint_slice(namespace="team-a"))  # anybody else's Service changes nothing

    both = Ring(me="r1", members=(Peer("r1", "10.0.0.1"), Peer("r2", "10.0.0.2")))
    await eventually(lambda: tables.rings[-1] == both)
    await kube.replace(EndpointSlice(router_slice(r2="10.0.0.2")))
    await eventually(lambda: tables.rings[-1] == both.leave())
    work.cancel()
    await client.close()


async def test_a_router_that_may_not_list_the_others_serves_by_itself(
    api_server: ApiServer, settings: Settings
) -> None:
    tables = Tables()
    used = replace(
        settings, kubeconfig=api_server.kubeconfig, namespaces=("team-a",), peer_port=9903, pod_namespace="forbidden"
    )
    client = connect(used)
    assert client is not None
    forbidding: Any = _Forbidding(client)
    watcher = Watcher(used, client=forbidding, **tables.inbox())
    work = asyncio.create_task(watcher.run())

    await eventually(lambda: tables.rings[-1:] == [Ring(me="routerd")])
    await eventually(lambda: tables.offered)
    work.cancel()
    await client.close()


async def test_the_secrets_with_certificates_are_watched_by_name_and_no_others(
    api_server: ApiServer, settings: Settings, kube: AsyncClient
) -> None:
    tables = Tables()
    names = ("slipway-tls", "example-com")
    used = replace(settings, kubeconfig=api_server.kubeconfig, namespaces=("team-a",), tls_port=8443, tls_secrets=names)
    client = connect(used)
    assert client is not None
    watcher = Watcher(used, client=client, **tables.inbox())
    work = asyncio.create_task(watcher.run())
    await eventually(lambda: tables.secrets[-1:] == [{}])

    for name in ("slipway-admin", "slipway-tls"):
        metadata = {"name": name, "namespace": SYSTEM_NAMESPACE}
        await kube.create(
            Secret({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"tls.crt": "eA=="}})
        )
    await eventually(lambda: tables.secrets[-1].keys() == {"slipway-tls"})

    assert tables.secrets[-1]["slipway-tls"]["data"] == {"tls.crt": "eA=="}
    assert all("slipway-admin" not in seen for seen in tables.secrets)
    work.cancel()
    await client.close()
