"""The clients people use, against the real server: kubectl, the official Python client, lightkube."""

import asyncio
import json
import os
import shutil
from contextlib import aclosing
from typing import Any

import lightkube
import pytest
import yaml
from kubernetes import client as official
from kubernetes import config as official_config
from kubernetes import watch as official_watch
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace
from lightkube.types import PatchType

from tests.clusters.embedded.server.manifests import DEFINITIONS, config, definition, deployment

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


async def kubectl(cluster: Any, *words: str, text: str = "", code: int = 0) -> str:
    """Output and errors of one kubectl command; asserts its exit code."""
    process = await asyncio.create_subprocess_exec(
        "kubectl",
        f"--kubeconfig={cluster.kubeconfig}",
        f"--cache-dir={cluster.directory / 'cache'}",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": str(cluster.directory)},
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate(text.encode())
    assert process.returncode == code, output.decode()
    return output.decode()


def fields(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()]


@needs_kubectl
async def test_kubectl_creates_by_name_though_it_speaks_protobuf(cluster: Any) -> None:
    await kubectl(cluster, "create", "namespace", "team")
    await kubectl(cluster, "create", "configmap", "cm", "--from-literal=a=b")
    await kubectl(cluster, "create", "secret", "generic", "s", "--from-literal=a=b")
    words = ("deployment", "web", "--image=web:1", "--replicas=0", "--port=80", "--", "run", "--fast")
    await kubectl(cluster, "create", *words)
    await kubectl(cluster, "create", "serviceaccount", "bot")
    await kubectl(cluster, "create", "role", "reader", "--verb=get", "--resource=pods")
    await kubectl(cluster, "create", "quota", "q", "--hard=pods=3,requests.cpu=2")
    await kubectl(cluster, "create", "service", "clusterip", "web", "--tcp=80:8080")
    found = json.loads(await kubectl(cluster, "get", "deployment", "web", "-o", "json"))
    assert found["spec"]["replicas"] == 0
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert (container["command"], container["ports"]) == (
        ["run", "--fast"],
        [{"containerPort": 80, "protocol": "TCP"}],
    )
    secret = json.loads(await kubectl(cluster, "get", "secret", "s", "-o", "json"))
    assert secret["data"] == {"a": "Yg=="}
    quota = json.loads(await kubectl(cluster, "get", "quota", "q", "-o", "json"))
    assert quota["spec"]["hard"] == {"pods": "3", "requests.cpu": "2"}
    service = json.loads(await kubectl(cluster, "get", "service", "web", "-o", "json"))
    assert service["spec"]["ports"][0]["targetPort"] == 8080
    assert len((await kubectl(cluster, "create", "token", "bot")).split(".")) == 3


@needs_kubectl
async def test_kubectl_applies_shows_scales_and_deletes(cluster: Any) -> None:
    text = yaml.safe_dump(deployment("web", replicas=2))
    assert "created" in await kubectl(cluster, "apply", "-f", "-", text=text)
    assert "unchanged" in await kubectl(cluster, "apply", "-f", "-", text=text)
    changed = text.replace("web:1", "web:2")
    assert "configured" in await kubectl(cluster, "apply", "-f", "-", text=changed)
    assert "scaled" in await kubectl(cluster, "scale", "deployment", "web", "--replicas=3")
    await kubectl(cluster, "label", "deployment", "web", "tier=front")
    rows = fields(await kubectl(cluster, "get", "deployments", "-l", "tier=front", "-o", "wide"))
    assert rows[0] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"]
    assert rows[1][:2] == ["web", "0/3"]
    assert "web:2" in rows[1]
    assert "RollingUpdate" in await kubectl(cluster, "describe", "deployment", "web")
    assert "yes" in await kubectl(cluster, "auth", "can-i", "create", "pods")
    assert "DeploymentStrategy" in await kubectl(cluster, "explain", "deployment.spec.strategy")
    assert "deleted" in await kubectl(cluster, "delete", "deployment", "web", "--timeout=10s")
    assert "NotFound" in await kubectl(cluster, "get", "deployment", "web", code=1)


@needs_kubectl
async def test_kubectl_takes_its_own_objects_over_to_server_side_apply(cluster: Any) -> None:
    text = yaml.safe_dump(deployment("web", replicas=2))
    await kubectl(cluster, "apply", "-f", "-", text=text)
    await kubectl(cluster, "apply", "--server-side", "-f", "-", text=text)
    await kubectl(cluster, "scale", "deployment", "web", "--replicas=3")
    refused = await kubectl(cluster, "apply", "--server-side", "-f", "-", text=text, code=1)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in refused
    await kubectl(cluster, "apply", "--server-side", "--force-conflicts", "-f", "-", text=text)
    assert await kubectl(cluster, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "2"


@needs_kubectl
async def test_kubectl_refuses_a_misspelt_field_and_waits_for_conditions(cluster: Any) -> None:
    text = yaml.safe_dump(deployment("web")).replace("replicas", "replicaz")
    refused = await kubectl(cluster, "apply", "-f", "-", text=text, code=1)
    assert 'unknown field "spec.replicaz"' in refused
    await cluster.post(DEFINITIONS, definition())
    wait = ("wait", "--for=condition=Established", "crd/widgets.example.org", "--timeout=10s")
    assert "condition met" in await kubectl(cluster, *wait)
    widget = {"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    await kubectl(cluster, "apply", "-f", "-", text=yaml.safe_dump(widget))
    rows = fields(await kubectl(cluster, "get", "wd"))
    assert rows == [["NAME", "SIZE", "READY"], ["w", "3"]]


def official_client(cluster: Any) -> Any:
    return official_config.new_client_from_config(config_file=str(cluster.kubeconfig))


async def test_the_official_client_works_typed_and_raw(cluster: Any) -> None:
    def use() -> list[str]:
        with official_client(cluster) as api:
            core, apps = official.CoreV1Api(api), official.AppsV1Api(api)
            core.create_namespace(official.V1Namespace(metadata=official.V1ObjectMeta(name="team")))
            apps.create_namespaced_deployment("team", deployment("web", replicas=2))
            apps.patch_namespaced_deployment_scale("web", "team", {"spec": {"replicas": 4}})
            apps.patch_namespaced_deployment(
                "web",
                "team",
                deployment("web", replicas=5),
                field_manager="slipway",
                force=True,
                _content_type="application/apply-patch+yaml",
            )
            raw = apps.list_namespaced_deployment("team", _preload_content=False)
            (found,) = json.loads(raw.data)["items"]
            managers = [e["manager"] for e in found["metadata"]["managedFields"]]
            assert found["spec"]["replicas"] == 5
            assert apps.read_namespaced_deployment("web", "team").spec.replicas == 5
            with pytest.raises(official.ApiException) as refused:
                core.read_namespaced_config_map("none", "team")
            assert refused.value.status == 404
            apps.delete_namespaced_deployment("web", "team")
            return managers

    assert "slipway" in await asyncio.to_thread(use)


async def test_the_official_client_watches(cluster: Any) -> None:
    await cluster.post("/api/v1/namespaces/default/configmaps", config("a"))

    def use() -> list[tuple[str, str]]:
        with official_client(cluster) as api:
            core = official.CoreV1Api(api)
            stream = official_watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
            return [(event["type"], event["object"].metadata.name) for event in stream]

    assert await asyncio.to_thread(use) == [("ADDED", "a")]


async def test_lightkube_lists_watches_applies_and_scales(cluster: Any) -> None:
    settings = lightkube.KubeConfig.from_file(str(cluster.kubeconfig))
    kube = lightkube.AsyncClient(settings, namespace="default", field_manager="routerd")
    spaces = [item.metadata.name async for item in kube.list(Namespace, chunk_size=2)]
    assert spaces == ["default", "kube-node-lease", "kube-public", "kube-system"]
    await kube.create(ConfigMap.from_dict(config("a", x="1")))
    await kube.apply(Deployment.from_dict(deployment("web", replicas=2)), force=True)
    body = {"spec": {"replicas": 6}}
    await kube.patch(Deployment.Scale, "web", body, patch_type=PatchType.MERGE)
    assert (await kube.get(Deployment, "web")).spec.replicas == 6
    async with asyncio.timeout(10), aclosing(kube.watch(ConfigMap)) as changes:
        kind, found = await anext(changes)
        assert (kind, found.metadata.name) == ("ADDED", "a")
    await kube.delete(ConfigMap, "a")
    with pytest.raises(lightkube.ApiError) as refused:
        await kube.get(ConfigMap, "a")
    assert refused.value.status.code == 404
    await kube.close()
