"""An API server, `python -m routerd` on it, and one endpoint whose replicas and keys change."""

import asyncio
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from lightkube import KubeConfig
from lightkube.core.async_client import AsyncClient
from lightkube.generic_resource import create_global_resource
from lightkube.types import PatchType

from benchmarks.router.processes import children, free_port
from benchmarks.soak_router.models import PORT, Replica
from routerd import contract
from routerd.kubernetes import EndpointSlice, OnlineEndpoint

CONCURRENCY: Final = 4
_TOKEN: Final = "soak"  # noqa: S105 of a router that lives for minutes on loopback
_NAMESPACE: Final = "soak"
_SECONDS: Final = 60.0  # until something is so that should take one
_addresses = itertools.count(1)


@dataclass
class World:
    """Everything under the soak; `replicas` are those that are ready."""

    folder: Path
    replicas: list[Replica] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    revision: int = 0
    version: str = "1"

    async def start(self, *, keys: dict[str, str], replicas: int) -> None:
        """Start all of it, and wait until the endpoint answers."""
        await self._start_api_server()
        command = [sys.executable, "-m", "routerd", "--kubeconfig", str(self.folder / "cluster/kubeconfig")]
        command += ["--run-dir", str(self.folder / "run"), "--namespace", _NAMESPACE, "--bind", "127.0.0.1"]
        command += ["--inference-port", str(self.port), "--admin-port", str(self.admin_port), "--slots", "60000:4"]
        command += ["--admin-token", _TOKEN, "--log-sample", "100", "--leader-election", "false"]
        log = (self.folder / "routerd.log").open("ab")
        self.routerd = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        log.close()
        await self._write_endpoint(keys)
        self.replicas = [await self.new_replica() for _ in range(replicas)]
        await self.publish()
        await self.in_force(lambda e: e["keyRevision"] == self.revision)
        await self.until(self.answers)

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
        await self.kube.create(namespace({"metadata": {"name": _NAMESPACE}}))

    async def stop(self) -> None:
        """End every process."""
        self.routerd.terminate()
        await asyncio.wait_for(self.routerd.wait(), _SECONDS)
        await self.kube.close()
        self.api_server.send_signal(signal.SIGCONT)
        self.api_server.terminate()
        await asyncio.wait_for(self.api_server.communicate(), _SECONDS)
        for replica in self.replicas:
            replica.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{contract.ENDPOINT_PATH}credit/score"

    async def new_replica(self) -> Replica:
        """One more model server, not in rotation yet."""
        number = next(_addresses)
        replica = Replica(name=f"credit-{number}", address=f"127.124.{number // 250}.{number % 250 + 1}")
        await replica.start()
        return replica

    async def publish(self) -> None:
        """Write the ready replicas into the EndpointSlice, and wait until HAProxy has them."""
        ready = [
            {
                "addresses": [r.address],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": r.name},
            }
            for r in self.replicas
        ]
        labels = {"kubernetes.io/service-name": f"credit--v{self.version}"}
        manifest = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": f"credit-v{self.version}", "namespace": _NAMESPACE, "labels": labels},
            "addressType": "IPv4",
            "endpoints": ready,
            "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
        }
        await self.kube.apply(EndpointSlice(manifest), force=True)
        count = len(self.replicas)
        await self.in_force(lambda e: e["deployments"][f"v{self.version}"]["ready"] == count)

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
        """Wait until the router says of the endpoint, in its newest generation, that this is so."""
        item = (await self.kube.get(OnlineEndpoint, "credit", namespace=_NAMESPACE)).to_dict()
        generation = int(item["metadata"]["generation"])

        async def so() -> bool:
            found = await self._table()
            return found is not None and found["generation"] >= generation and condition(found)

        await self.until(so)

    async def _table(self) -> dict[str, Any] | None:
        url, headers = f"http://127.0.0.1:{self.admin_port}{contract.ADMIN_TABLE}", {}
        headers[contract.ADMIN_TOKEN_HEADER] = _TOKEN
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.request("GET", url, headers=headers) as answer:
                found: dict[str, Any] = (await answer.json())["endpoints"]
                return found.get(f"{_NAMESPACE}/credit")
        return None

    async def answers(self) -> bool:
        """Whether HAProxy answers at all."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.request("GET", f"http://127.0.0.1:{self.port}/-/healthz") as answer:
                return answer.status == 200
        return False

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Look until it is so; raises TimeoutError."""
        end = time.monotonic() + _SECONDS
        while not await check():
            if time.monotonic() > end:
                raise TimeoutError(f"still not so after {_SECONDS} s: {check}")
            await asyncio.sleep(0.02)

    def control_process(self) -> int:
        """The process id of routerd's Python half."""
        master = self.haproxy_master()
        below = children(self.routerd.pid)
        (found,) = set(below) - {master, *(children(master) if master in below else ())}
        return found

    def haproxy_master(self) -> int:
        return int((self.folder / "run/haproxy.pid").read_text().split()[0])

    def kill(self, pid: int) -> None:
        """End a process as a crash does."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
