"""A real API server in a process of its own, and a small stage on it: endpoints, workloads and EndpointSlices.

Pods never run here: tests write EndpointSlices that lead to their own model servers, as the cluster would.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube import KubeConfig
from lightkube.core.async_client import AsyncClient
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource
from lightkube.types import PatchType

from routerd import contract
from routerd.autoscale.workloads import Workload
from routerd.kubernetes import EndpointSlice, OnlineEndpoint
from tests.routerd.conftest import ModelServer

Namespace: Any = create_global_resource("", "v1", "Namespace", "namespaces")
CustomResourceDefinition: Any = create_global_resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"
)
Lease: Any = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")


@contextmanager
def run_cluster(directory: Path) -> Iterator[Path]:
    """Run an embedded cluster; its kubeconfig."""
    command = [sys.executable, "-m", "clusters.embedded", "--data", str(directory), "--no-isolation"]
    with (
        (directory.parent / f"{directory.name}.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            yield Path(json.loads(process.stdout.readline())["kubeconfig"])
        finally:
            process.terminate()
            process.wait(timeout=30)


def connect(kubeconfig: Path) -> AsyncClient:
    """A client as routerd's own."""
    config = KubeConfig.from_file(kubeconfig).get()
    return AsyncClient(config=config, field_manager=contract.ROUTER_FIELD_MANAGER, trust_env=False)


@dataclass
class Stage:
    """One namespace with one endpoint `credit` and its deployment `blue`."""

    kube: AsyncClient
    namespace: str

    async def prepare(self) -> None:
        """Make the namespaces and the kind OnlineEndpoint."""
        crd = contract.online_endpoint_crd()
        await _create(self.kube, CustomResourceDefinition(crd))
        await self.kube.wait(CustomResourceDefinition, crd["metadata"]["name"], for_conditions=["Established"])
        for name in (self.namespace, contract.SYSTEM_NAMESPACE):
            manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await _create(self.kube, Namespace(manifest))

    async def add_workload(self, *, replicas: int = 1, name: str = "credit--blue") -> None:
        """A workload whose pods are nobody's business here."""
        labels = {"app": name}
        pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "server", "image": "absent"}]}}
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
        await self.kube.create(
            Workload(
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "metadata": {"name": name, "namespace": self.namespace},
                    "spec": spec,
                }
            ),
            field_manager="slipway",
        )

    async def add_endpoint(self, *, scale: dict[str, Any], **deployment: Any) -> None:
        """The endpoint, with one deployment that takes all traffic and asks for no key."""
        blue = {
            "name": "blue",
            "service": "credit--blue",
            "workload": "credit--blue",
            "maxConcurrentRequestsPerInstance": 1,
            "maxQueue": 20,
            "maxQueueWaitMs": 60000,
            "requestTimeoutMs": 30000,
            "scale": scale,
        }
        spec = {"auth": {"mode": "none"}, "traffic": {"blue": 100}, "deployments": [blue | deployment]}
        await self.kube.create(
            OnlineEndpoint(
                {
                    "apiVersion": contract.API_VERSION,
                    "kind": "OnlineEndpoint",
                    "metadata": {"name": "credit", "namespace": self.namespace},
                    "spec": spec,
                }
            )
        )

    async def set_replicas_ready(self, *models: ModelServer) -> None:
        """Publish these model servers as the ready replicas, one slice each because their ports differ."""
        for model in models:
            manifest = {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"credit--blue-{model.name}",
                    "namespace": self.namespace,
                    "labels": {"kubernetes.io/service-name": "credit--blue"},
                },
                "addressType": "IPv4",
                "endpoints": [
                    {
                        "addresses": [model.address],
                        "conditions": {"ready": True},
                        "targetRef": {"kind": "Pod", "name": model.name},
                    }
                ],
                "ports": [{"name": "http", "port": model.port, "protocol": "TCP"}],
            }
            await self.kube.apply(EndpointSlice(manifest), field_manager="test", force=True)

    async def remove_replica(self, model: ModelServer) -> None:
        """Take a model server out again."""
        await self.kube.delete(EndpointSlice, f"credit--blue-{model.name}", namespace=self.namespace)

    async def workload(self, name: str = "credit--blue") -> dict[str, Any]:
        """The workload as it is now."""
        found: dict[str, Any] = await self.kube.get(Workload, name, namespace=self.namespace)
        return found

    async def replicas(self) -> int:
        """How many replicas the workload is asked for."""
        return int((await self.workload())["spec"]["replicas"])

    async def endpoint(self) -> dict[str, Any]:
        """The OnlineEndpoint as it is now."""
        found: dict[str, Any] = await self.kube.get(OnlineEndpoint, "credit", namespace=self.namespace)
        return found

    async def patch_endpoint(self, patch: dict[str, Any]) -> None:
        """Change the endpoint's spec, as the studio does."""
        await self.kube.patch(
            OnlineEndpoint,
            "credit",
            {"spec": patch},
            namespace=self.namespace,
            patch_type=PatchType.MERGE,
            field_manager="slipway",
        )


async def _create(kube: AsyncClient, manifest: Any) -> None:
    """Create what may be there from the test before."""
    try:
        await kube.create(manifest)
    except ApiError as error:
        if error.status.code != 409:
            raise
