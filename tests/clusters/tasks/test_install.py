"""Installing the router into a real cluster and removing it; what stands in the way is named."""

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from clusters.artifacts import ArtifactError, PushStopped, has_artifact, push_artifact
from clusters.connections import kube_for
from clusters.identity import studio_uuid
from clusters.install import manifests
from clusters.install.progress import Done
from clusters.install.run import Plan, StepClock, look_at_definitions
from clusters.install.settings import RouterSettings
from clusters.kube.client import Kube
from clusters.kube.kinds import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    INSTANCE_TYPES,
    NAMESPACES,
    ROLE_BINDINGS,
    SECRETS,
    SERVICES,
)
from clusters.models import Cluster, RouterState
from clusters.router_admin import get_decisions, get_samples, get_table, router_pods
from clusters.services import (
    attach_cluster,
    create_instance_type,
    create_target,
    delete_target,
    install_router,
    uninstall_router,
)
from clusters.tasks.attach import advance as advance_attach
from clusters.tasks.check import check_now
from clusters.tasks.install import advance
from deployments.models import Endpoint
from routerd import contract
from studio.actor import SLIPWAY
from studio.errors import SlipwayError
from studio.models import Operation, OperationState, Workspace
from tests.clusters.conftest import RunningCluster
from tests.ports import free_port

pytestmark = pytest.mark.django_db(transaction=True)
SYSTEM = contract.SYSTEM_NAMESPACE


def told(operation: Operation) -> str:
    steps = "\n".join(f"{step} {step.detail}" for step in operation.steps.all())
    return f"{operation.state} {operation.summary}\n{operation.cause_name} {operation.cause_proof}\n{steps}"


def wait_for(operation: Operation, *, seconds: float = 90) -> Operation:
    """A worker does it."""
    end = time.monotonic() + seconds
    while not operation.finished and time.monotonic() < end:
        time.sleep(0.05)
        operation.refresh_from_db()
    return operation


def run(operation: Operation, *, seconds: float = 90) -> Operation:
    """Look until it has ended, in this thread."""
    end = time.monotonic() + seconds
    while not operation.finished and time.monotonic() < end:
        advance(str(operation.pk))
        time.sleep(0.1)
        operation.refresh_from_db()
    return operation


@pytest.fixture
def cluster(workspace: Workspace, running_cluster: RunningCluster) -> Iterator[Cluster]:
    """Attached; whatever a test installs is removed after it."""
    found, operation = attach_cluster(
        workspace, name="quay", kubeconfig_text=running_cluster.kubeconfig, context=None, actor=SLIPWAY
    )
    advance_attach(str(operation.pk))
    found.refresh_from_db()
    yield found
    kube = kube_for(found)
    kube.delete(NAMESPACES, SYSTEM)
    for plural in ("onlineendpoints", "instancetypes"):
        kube.delete(CUSTOM_RESOURCE_DEFINITIONS, f"{plural}.{contract.GROUP}")
    end = time.monotonic() + 30
    while kube.find(NAMESPACES, SYSTEM) and time.monotonic() < end:
        time.sleep(0.05)


def test_a_router_is_installed_serves_targets_and_is_removed_without_a_trace(
    workspace: Workspace, cluster: Cluster, celery_worker: Any
) -> None:
    port = free_port()
    size: dict[str, Any] = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    create_instance_type(cluster, name="early", **size, actor=SLIPWAY)

    installing = wait_for(install_router(cluster, settings=RouterSettings(port=port), actor=SLIPWAY))
    assert installing.state == OperationState.SUCCEEDED, told(installing)

    cluster.refresh_from_db()
    assert cluster.router_state == RouterState.READY
    assert cluster.router_address == f"http://127.0.0.1:{port}"
    (pod,) = router_pods(cluster)
    assert pod.ready
    assert get_table(pod)["endpoints"] == {}
    assert get_samples(pod, after=0)["samples"] == []
    assert get_decisions(pod, after=0)["decisions"] == []
    kube = kube_for(cluster)
    assert kube.find(INSTANCE_TYPES, "early") is not None

    target = create_target(
        workspace, cluster=cluster, name="models", namespace="models", create_namespace=True, actor=SLIPWAY
    )
    assert kube.get(CONFIG_MAPS, contract.TARGETS_CONFIGMAP, SYSTEM)["data"] == {"namespaces": "models"}
    assert kube.find(ROLE_BINDINGS, manifests.ROUTER_ROLE, "models") is not None

    endpoint = Endpoint.objects.create(workspace=workspace, target=target, name="iris")
    with pytest.raises(SlipwayError, match="Delete those endpoints first"):
        uninstall_router(cluster, actor=SLIPWAY)
    endpoint.delete()
    removing = wait_for(uninstall_router(cluster, actor=SLIPWAY))

    assert removing.state == OperationState.SUCCEEDED, told(removing)
    assert left_behind(kube) == []
    cluster.refresh_from_db()
    assert cluster.router_state == RouterState.ABSENT
    assert cluster.admin_token == ""
    assert kube.find(NAMESPACES, "models") is not None
    delete_target(target, actor=SLIPWAY)


def left_behind(kube: Kube) -> list[str]:
    looked_at = (
        (NAMESPACES, SYSTEM, None),
        (DEPLOYMENTS, contract.ROUTER, SYSTEM),
        (SECRETS, contract.ADMIN_SECRET, SYSTEM),
        (ROLE_BINDINGS, manifests.ROUTER_ROLE, "models"),
        (CUSTOM_RESOURCE_DEFINITIONS, f"onlineendpoints.{contract.GROUP}", None),
        (CUSTOM_RESOURCE_DEFINITIONS, f"instancetypes.{contract.GROUP}", None),
    )
    return [kind.label(name) for kind, name, namespace in looked_at if kube.find(kind, name, namespace)]


def test_artifacts_are_pushed_in_chunks_and_go_on_where_they_broke_off(cluster: Cluster, tmp_path: Path) -> None:
    run(install_router(cluster, settings=RouterSettings(port=free_port()), actor=SLIPWAY))
    cluster.refresh_from_db()
    blob = tmp_path / "model.tar.gz"
    blob.write_bytes(bytes(range(256)) * 40_000)  # three chunks
    digest = hashlib.sha256(blob.read_bytes()).hexdigest()
    assert not has_artifact(cluster, digest=digest)
    seen: list[int] = []

    with pytest.raises(PushStopped):
        push_artifact(
            cluster,
            digest=digest,
            path=blob,
            progress=lambda sent, _: seen.append(sent),
            should_stop=lambda: len(seen) == 2,
        )
    resumed: list[int] = []
    pushed = push_artifact(cluster, digest=digest, path=blob, progress=lambda sent, _: resumed.append(sent))

    assert pushed
    assert resumed[0] == 2 * contract.ARTIFACTS_CHUNK_BYTES
    assert resumed[-1] == blob.stat().st_size
    assert has_artifact(cluster, digest=digest)
    assert not push_artifact(cluster, digest=digest, path=blob)
    with pytest.raises(ArtifactError, match=r"refuses 0{64}: .*SHA-256"):
        push_artifact(cluster, digest="0" * 64, path=blob)
    cluster.artifacts_upload_token = "wrong" * 8
    with pytest.raises(ArtifactError, match="Install the router again"):
        has_artifact(cluster, digest=digest)


def test_a_second_workspace_finds_the_router_and_how_to_talk_to_it(
    cluster: Cluster, running_cluster: RunningCluster
) -> None:
    run(install_router(cluster, settings=RouterSettings(port=free_port()), actor=SLIPWAY))
    other, operation = attach_cluster(
        Workspace.objects.create(name="elsewhere"),
        name="same",
        kubeconfig_text=running_cluster.kubeconfig,
        context=None,
        actor=SLIPWAY,
    )
    advance_attach(str(operation.pk))
    other.refresh_from_db()

    check_now(other)

    assert other.router_state == RouterState.READY
    assert get_table(router_pods(other)[0])["endpoints"] == {}


def test_an_installation_of_another_studio_is_left_alone(cluster: Cluster) -> None:
    kube = kube_for(cluster)
    kube.create(manifests.namespace(SYSTEM, studio="11111111-0000-0000-0000-000000000000"))

    operation = run(install_router(cluster, settings=RouterSettings(port=free_port()), actor=SLIPWAY))

    assert operation.cause_name == "DeploymentConflict"
    assert "Another Slipway studio" in operation.cause_text
    assert kube.list(DEPLOYMENTS, SYSTEM) == []
    cluster.refresh_from_db()
    assert cluster.router_state == RouterState.FAILED


def test_a_port_somebody_uses_is_named_and_another_one_mends_it(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = run(install_router(cluster, settings=RouterSettings(port=port), actor=SLIPWAY))

        assert failed.cause_name == "PortNotAvailable", told(failed)
        assert str(port) in failed.cause_text

        mended = run(install_router(cluster, settings=RouterSettings(port=free_port()), actor=SLIPWAY))
    assert mended.state == OperationState.SUCCEEDED, told(mended)


def test_what_others_put_into_the_namespace_keeps_it(cluster: Cluster) -> None:
    run(install_router(cluster, settings=RouterSettings(port=free_port(), service_type="ClusterIP"), actor=SLIPWAY))
    kube = kube_for(cluster)
    kube.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": SYSTEM}})
    theirs = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    kube.create(
        {
            "apiVersion": contract.API_VERSION,
            "kind": "InstanceType",
            "metadata": {"name": "theirs"},
            "spec": {"resources": theirs},
        }
    )
    cluster.refresh_from_db()

    operation = run(uninstall_router(cluster, actor=SLIPWAY))

    assert operation.state == OperationState.SUCCEEDED, told(operation)
    assert "ConfigMap theirs" in operation.summary
    assert kube.find(CONFIG_MAPS, "theirs", SYSTEM) is not None
    assert kube.find(INSTANCE_TYPES, "theirs") is not None
    assert kube.find(SERVICES, contract.ROUTER_SERVICE, SYSTEM) is None
    assert kube.find(SECRETS, contract.ADMIN_SECRET, SYSTEM) is None


def test_installing_twice_changes_nothing(cluster: Cluster) -> None:
    settings = RouterSettings(port=free_port())
    run(install_router(cluster, settings=settings, actor=SLIPWAY))
    kube = kube_for(cluster)
    before = kube.get(DEPLOYMENTS, contract.ROUTER, SYSTEM)["metadata"]["generation"]
    cluster.refresh_from_db()
    token = cluster.admin_token

    operation = run(install_router(cluster, settings=settings, actor=SLIPWAY))

    assert operation.state == OperationState.SUCCEEDED, told(operation)
    assert kube.get(DEPLOYMENTS, contract.ROUTER, SYSTEM)["metadata"]["generation"] == before
    cluster.refresh_from_db()
    assert cluster.admin_token == token


def test_a_definition_that_is_missing_at_a_later_look_is_made(cluster: Cluster) -> None:
    """A real cluster takes a moment to serve the first definition; the second was then never made."""
    kube, now = kube_for(cluster), timezone.now()
    keys = manifests.Secrets(admin_token="a", upload_token="b", signing_key="c")
    plan = Plan(settings=RouterSettings(), secrets=keys, studio=studio_uuid(), runtime="", targets=(), sizes=())
    first, second = manifests.definitions(studio=studio_uuid())
    kube.apply(first)

    found = look_at_definitions(kube, plan, StepClock(now=now, begun=now))

    assert isinstance(found, Done)
    assert kube.get(CUSTOM_RESOURCE_DEFINITIONS, second["metadata"]["name"])
