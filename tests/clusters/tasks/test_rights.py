"""An account that holds what the check asks for, and nothing else: it is enough, and one right less is named."""

import html
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client

from clusters.account import ACCOUNT, account_objects
from clusters.connections import kube_for
from clusters.install.settings import RouterSettings
from clusters.kube.client import Kube
from clusters.kube.kinds import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from clusters.models import Cluster
from clusters.preflight import NEEDED, Right, user_of
from clusters.reading import read_cluster
from clusters.services import (
    attach_cluster,
    create_instance_type,
    create_target,
    delete_target,
    install_router,
    uninstall_router,
)
from clusters.tasks.attach import advance as advance_attach
from deployments.manifests import Placement, deployment_objects
from deployments.rollout.remove import delete_objects, what_is_left
from deployments.specs import parse_deployment
from routerd import contract
from studio.actor import SLIPWAY
from studio.models import Operation, OperationState, Workspace
from tests.clusters.conftest import RunningCluster
from tests.clusters.tasks.test_install import left_behind, run, told
from tests.ports import free_port

pytestmark = pytest.mark.django_db(transaction=True)


Attach = Callable[[Sequence[Right]], tuple[Cluster, Operation]]


@pytest.fixture
def attach(workspace: Workspace, running_cluster: RunningCluster, kube: Kube) -> Iterator[Attach]:
    """Attaches the cluster by the token of an account that may do exactly this."""

    def make(rights: Sequence[Right]) -> tuple[Cluster, Operation]:
        for obj in account_objects(rights):
            kube.apply(obj)
        text = with_token(running_cluster.kubeconfig, token_of(kube))
        cluster, operation = attach_cluster(workspace, name="quay", kubeconfig_text=text, context=None, actor=SLIPWAY)
        advance_attach(str(operation.pk))
        cluster.refresh_from_db()
        operation.refresh_from_db()
        return cluster, operation

    yield make
    kube.delete(NAMESPACES, contract.SYSTEM_NAMESPACE)
    kube.delete(SERVICE_ACCOUNTS, ACCOUNT, "kube-system")
    for plural in ("onlineendpoints", "instancetypes"):
        kube.delete(CUSTOM_RESOURCE_DEFINITIONS, f"{plural}.{contract.GROUP}")


def token_of(kube: Kube) -> str:
    path = f"{SERVICE_ACCOUNTS.path(ACCOUNT, namespace='kube-system')}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = kube._json("POST", path, subject="Token", body=asked)
    return str(answer["status"]["token"])


def with_token(kubeconfig: str, token: str) -> str:
    config = yaml.safe_load(kubeconfig)
    config["users"][0]["user"] = {"token": token}
    return str(yaml.safe_dump(config))


def test_what_is_asked_for_is_enough_to_install_to_deploy_and_to_remove(
    attach: Attach, workspace: Workspace, kube: Kube
) -> None:
    cluster, attaching = attach(NEEDED)
    assert attaching.state == OperationState.SUCCEEDED, attaching.cause_proof
    size: dict[str, Any] = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    create_instance_type(cluster, name="small", **size, actor=SLIPWAY)
    installing = run(install_router(cluster, settings=RouterSettings(port=free_port()), actor=SLIPWAY))
    assert installing.state == OperationState.SUCCEEDED, told(installing)
    cluster.refresh_from_db()
    target = create_target(
        workspace, cluster=cluster, name="crates", namespace="crates", create_namespace=True, actor=SLIPWAY
    )
    own = kube_for(cluster)

    deploy_and_delete(own, namespace="crates")
    delete_target(target, actor=SLIPWAY)
    assert read_cluster(own, studio="").router.address
    removing = run(uninstall_router(cluster, actor=SLIPWAY))

    assert removing.state == OperationState.SUCCEEDED, told(removing)
    assert left_behind(kube) == []
    gone = kube.find(NAMESPACES, "crates")
    assert gone is None or gone["metadata"].get("deletionTimestamp")


def deploy_and_delete(kube: Kube, *, namespace: str) -> None:
    """The calls of a rollout and of a deletion."""
    placement = Placement(
        studio="", namespace=namespace, revision=1, image="none", slipway_image="none", download_token="none"
    )
    given = {
        "name": "blue",
        "endpoint_name": "iris",
        "environment": "light:1",
        "code_configuration": {"scoring_script": "score.py"},
    }
    for obj in deployment_objects(parse_deployment(given, code_digest="ab" * 32), placement=placement, replicas=0):
        kube.apply(obj)
        kube.apply(obj)
    kube.list(PODS, namespace)
    delete_objects(kube, namespace=namespace, endpoint="iris")
    assert what_is_left(kube, namespace=namespace, endpoint="iris") == []


@pytest.mark.parametrize(
    "missing",
    [
        Right("create", "deployments", group="apps"),
        Right("patch", "deployments", group="apps", subresource="scale"),
        Right("create", "leases", group="coordination.k8s.io", namespace=contract.SYSTEM_NAMESPACE),
    ],
    ids=str,
)
def test_a_right_that_is_missing_is_named(attach: Attach, missing: Right) -> None:
    _, operation = attach([right for right in NEEDED if right != missing])

    assert operation.cause_name == "ClusterRightsMissing"
    assert operation.cause_proof == str(missing)


def test_the_commands_of_the_page_make_a_kubeconfig_that_attaches(
    workspace: Workspace,
    running_cluster: RunningCluster,
    kube: Kube,
    client_of: Callable[[User], Client],
    alice: User,
    tmp_path: Path,
) -> None:
    client = client_of(alice)
    served = client.get(f"/w/{workspace.name}/clusters/slipway-account.yaml")
    assert served["Content-Disposition"] == 'attachment; filename="slipway-account.yaml"'
    (tmp_path / "slipway-account.yaml").write_bytes(served.content)
    (tmp_path / "config").write_text(running_cluster.kubeconfig)
    page = client.get(f"/w/{workspace.name}/clusters/attach").content.decode()
    commands = [html.unescape(each) for each in re.findall(r"<code>(kubectl .*?)</code>", page)]
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "config"), "HOME": str(tmp_path)}

    printed = [
        subprocess.run(
            ["bash", "-ec", each], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout
        for each in commands
    ]
    cluster, operation = attach_cluster(
        workspace, name="quay", kubeconfig_text=printed[-1], context=None, actor=SLIPWAY
    )
    advance_attach(str(operation.pk))
    operation.refresh_from_db()

    assert operation.state == OperationState.SUCCEEDED, told(operation)
    assert user_of(kube_for(cluster)) == f"system:serviceaccount:kube-system:{ACCOUNT}"
    kube.delete(SERVICE_ACCOUNTS, ACCOUNT, "kube-system")
