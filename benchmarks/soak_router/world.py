"""An API server, several routers on it, and one endpoint whose replicas, keys and certificate change."""

import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lightkube import KubeConfig
from lightkube.core.async_client import AsyncClient
from lightkube.generic_resource import create_global_resource
from lightkube.types import PatchType

from benchmarks.router.processes import free_port
from benchmarks.soak_router.authority import Authority, trusting
from benchmarks.soak_router.load import Service
from benchmarks.soak_router.models import Replica
from benchmarks.soak_router.routers import Ports, Router
from routerd import contract
from routerd.kubernetes import EndpointSlice, OnlineEndpoint, Secret
from routerd.peers import rank

CONCURRENCY: Final = 4
_NAMESPACE: Final = "soak"
_SECONDS: Final = 60.0  # until something is so that should take one
_SERVICE_SECONDS: Final = 0.1  # until a node's Service rules follow the EndpointSlice
_PRE_STOP_SECONDS: Final = 0.3  # 3 as installed
# A router is idle, and ends, when it has had nothing to do for half a second; so long, too, it only passes on.
_ROUTER_OPTIONS: Final = (
    *("--namespace", _NAMESPACE, "--slots", "60000:4", "--log-sample", "100"),
    *("--drain-seconds", "0.5", "--grace-seconds", "60"),
)
_addresses = itertools.count(1)


@dataclass
class World:
    """Everything under the soak; `replicas` and `routers` are those that are ready."""

    folder: Path
    replicas: list[Replica] = field(default_factory=list)
    routers: list[Router] = field(default_factory=list)
    ports: Ports = field(default_factory=Ports)
    model_port: int = field(default_factory=free_port)
    revision: int = 0
    version: str = "1"
    authority: Authority = field(default_factory=lambda: Authority(1))

    def __post_init__(self) -> None:
        self.service = Service(self.ports.inference, self.ports.tls)
        self._starting: list[Router] = []
        self._started: list[Router] = []

    async def start(self, *, keys: dict[str, str], replicas: int) -> None:
        """Start all of it with one router, and wait until that is ready."""
        await self._start_api_server()
        await self._write_certificate()
        await self._write_endpoint(keys)
        self.replicas = [await self.new_replica() for _ in range(replicas)]
        await self._write_replicas()
        await self.prepare_routers(1)
        await self.add_router()

    async def _start_api_server(self) -> None:
        command = [sys.executable, "-m", "clusters.embedded", "--data", str(self.folder / "cluster"), "--no-isolation"]
        log = (self.folder / "cluster.log").open("ab")
        self.api_server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        log.close()
        assert self.api_server.stdout is not None
        ready = json.loads(await asyncio.wait_for(self.api_server.stdout.readline(), _SECONDS))
        config = KubeConfig.from_file(ready["kubeconfig"]).get()
        self.kube = AsyncClient(config=config, field_manager=contract.FIELD_MANAGER, trust_env=False)
        definition: Any = create_global_resource(
            "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"
        )
        await self.kube.create(definition(contract.online_endpoint_crd()))
        await self.kube.wait(definition, "onlineendpoints.slipway.dev", for_conditions=["Established"])
        namespace: Any = create_global_resource("", "v1", "Namespace", "namespaces")
        for name in (_NAMESPACE, contract.SYSTEM_NAMESPACE):
            await self.kube.create(namespace({"metadata": {"name": name}}))

    async def stop(self) -> None:
        """End every process."""
        self.api_server.send_signal(signal.SIGCONT)
        for router in self._started:
            await router.kill()
        await self.kube.close()
        self.api_server.terminate()
        await asyncio.wait_for(self.api_server.communicate(), _SECONDS)
        for replica in self.replicas:
            replica.kill()

    async def prepare_routers(self, count: int) -> None:
        """Start so many more, which nobody knows yet."""
        for _ in range(count):
            router = Router(self.folder, self.ports)
            await router.start("--kubeconfig", str(self.folder / "cluster/kubeconfig"), *_ROUTER_OPTIONS)
            self._started.append(router)
            self._starting.append(router)

    async def add_router(self) -> None:
        """Let one of them in as soon as it says that it is ready, and wait until all find each other."""
        router = self._starting.pop(0)
        await self.until(router.is_ready)
        await self._list([*self.routers, router])

    async def remove_router(self, router: Router) -> None:
        """End one as Kubernetes does: first nobody new is sent there, then it is told to end."""
        await self._write_routers([other for other in self.routers if other is not router])
        await asyncio.sleep(_SERVICE_SECONDS)
        self.service.ready.discard(router.address)
        await asyncio.sleep(_PRE_STOP_SECONDS)
        if status := await router.leave():
            raise RuntimeError(f"{router.name} ended with status {status}")
        await self._list(self.routers)

    async def kill_router(self, router: Router) -> float:
        """End one as the end of its node does; when it was gone. Nobody is sent there from then on."""
        self.service.ready.discard(router.address)
        await router.kill()
        gone = time.monotonic()
        await asyncio.sleep(_SERVICE_SECONDS)
        await self._list([other for other in self.routers if other is not router])
        return gone

    def ranked(self) -> list[Router]:
        """The routers, the one first in whose line all requests stand."""
        names = rank((_NAMESPACE, "credit", f"v{self.version}"), names=tuple(sorted(r.name for r in self.routers)))
        return sorted(self.routers, key=lambda router: names.index(router.name))

    async def _list(self, routers: Iterable[Router]) -> None:
        """Let these be the routers that take requests, and wait until all find each other."""
        await self._write_routers(routers)
        self.service.ready.update(router.address for router in self.routers)
        addresses = {router.address for router in self.routers}
        for router in self.routers:
            await self.until(lambda router=router: router.finds(addresses - {router.address}))

    async def _write_routers(self, routers: Iterable[Router]) -> None:
        self.routers = list(routers)
        pods = {router.name: router.address for router in self.routers}
        await self._write_slice(
            contract.ROUTER_SERVICE, namespace=contract.SYSTEM_NAMESPACE, pods=pods, port=self.ports.inference
        )

    async def use_certificate(self, authority: Authority) -> None:
        """Replace the routers' certificate by one of this authority, and wait until all show it."""
        self.authority = authority
        await self._write_certificate()
        trust = trusting(authority)
        for router in self.routers:
            await self.until(lambda router=router: router.shows(trust))

    async def _write_certificate(self) -> None:
        metadata = {"name": contract.TLS_SECRET, "namespace": contract.SYSTEM_NAMESPACE}
        data = self.authority.issue()
        kind = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls"}
        await self.kube.apply(Secret(kind | {"metadata": metadata, "data": data}), force=True)

    async def new_replica(self) -> Replica:
        """One more model server, not in rotation yet."""
        number = next(_addresses)
        address = f"127.124.{number // 250}.{number % 250 + 1}"
        replica = Replica(name=f"credit-{number}", address=address, port=self.model_port)
        await replica.start()
        return replica

    async def publish(self) -> None:
        """Write the ready replicas into the EndpointSlice, and wait until the routers know them."""
        await self._write_replicas()
        count = len(self.replicas)
        await self.in_force(lambda e: e["deployments"][f"v{self.version}"]["ready"] == count)

    async def _write_replicas(self) -> None:
        pods = {replica.name: replica.address for replica in self.replicas}
        await self._write_slice(f"credit--v{self.version}", namespace=_NAMESPACE, pods=pods, port=self.model_port)

    async def _write_slice(self, service: str, *, namespace: str, pods: dict[str, str], port: int) -> None:
        """Let these pods (name -> address) be the ready ones of a Service."""
        endpoints = [
            {"addresses": [address], "conditions": {"ready": True}, "targetRef": {"kind": "Pod", "name": name}}
            for name, address in pods.items()
        ]
        labels = {"kubernetes.io/service-name": service}
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": service, "namespace": namespace, "labels": labels},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        }
        await self.kube.apply(EndpointSlice(manifest), force=True)

    async def set_keys(self, keys: dict[str, str]) -> None:
        """Let these keys (name -> key) and no others open the endpoint, and wait until they do."""
        self.revision += 1
        await self._patch({"auth": self._auth(keys)})
        await self.in_force(lambda e: e["keyRevision"] == self.revision)

    async def _patch(self, spec: dict[str, Any]) -> None:
        await self.kube.patch(
            OnlineEndpoint, "credit", {"spec": spec}, namespace=_NAMESPACE, patch_type=PatchType.MERGE
        )

    def _auth(self, keys: dict[str, str]) -> dict[str, Any]:
        hashes = [{"name": name, "sha256": contract.key_hash(key)} for name, key in keys.items()]
        return {"mode": "key", "keyRevision": self.revision, "keys": hashes}

    def _deployment(self) -> dict[str, Any]:
        return {
            "name": f"v{self.version}",
            "service": f"credit--v{self.version}",
            "workload": f"credit--v{self.version}",
            "maxConcurrentRequestsPerInstance": CONCURRENCY,
            "maxQueue": 5000,
            "maxQueueWaitMs": 60_000,
            "requestTimeoutMs": 60_000,
            "scale": {"mode": "fixed", "min": 1, "max": 8},
        }

    async def _write_endpoint(self, keys: dict[str, str]) -> None:
        spec = {"auth": self._auth(keys), "traffic": {"v1": 100}, "deployments": [self._deployment()]}
        await self.kube.create(
            OnlineEndpoint(
                {
                    "apiVersion": contract.API_VERSION,
                    "kind": "OnlineEndpoint",
                    "metadata": {"name": "credit", "namespace": _NAMESPACE},
                    "spec": spec,
                }
            )
        )

    async def deploy(self, count: int) -> list[Replica]:
        """Put a new version beside the old, give it all the traffic and take the old away; its replicas."""
        old, before = self._deployment(), self.replicas
        self.version = str(int(self.version) + 1)
        self.replicas = [await self.new_replica() for _ in range(count)]
        await self._patch({"deployments": [old, self._deployment()]})
        await self.publish()
        await self._patch({"traffic": {old["name"]: None, f"v{self.version}": 100}})
        await self.in_force(lambda _: True)
        await self._patch({"deployments": [self._deployment()]})
        await self.in_force(lambda e: list(e["deployments"]) == [f"v{self.version}"])
        return before

    async def in_force(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until every router says of the endpoint, in its newest generation, that this is so."""
        item = (await self.kube.get(OnlineEndpoint, "credit", namespace=_NAMESPACE)).to_dict()
        generation = int(item["metadata"]["generation"])

        async def so(router: Router) -> bool:
            found = (await router.table()).get(f"{_NAMESPACE}/credit")
            return found is not None and found["generation"] >= generation and condition(found)

        for router in self.routers:
            await self.until(lambda router=router: so(router))

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Look until it is so; raises TimeoutError."""
        end = time.monotonic() + _SECONDS
        while not await check():
            if time.monotonic() > end:
                raise TimeoutError(f"still not so after {_SECONDS} s: {check}")
            await asyncio.sleep(0.03)
