"""Lending namespaces and offering sizes, on a real cluster."""

from collections.abc import Iterator
from typing import Any

import pytest

from clusters.install import manifests
from clusters.kube.client import Kube
from clusters.kube.kinds import CONFIG_MAPS, NAMESPACES
from clusters.models import Cluster, InstanceType
from clusters.queries import find_size, namespaces_of, sizes_of
from clusters.services import (
    create_instance_type,
    create_target,
    delete_instance_type,
    delete_target,
    update_instance_type,
)
from deployments.models import Endpoint
from studio.actor import SLIPWAY
from studio.errors import FieldErrors, SlipwayError
from studio.models import AuditEntry, Workspace
from tests.clusters.kube.test_client import until


@pytest.fixture
def clean(kube: Kube) -> Iterator[None]:
    """The namespaces of these tests are gone before and after."""
    forget(kube)
    yield
    forget(kube)


def forget(kube: Kube) -> None:
    for name in ("berths", "theirs"):
        kube.delete(NAMESPACES, name)
        until(lambda name=name: kube.find(NAMESPACES, name) is None)  # type: ignore[misc]


def refused(field: str, **given: object) -> str:
    with pytest.raises(FieldErrors) as caught:
        create_target(actor=SLIPWAY, **given)  # type: ignore[arg-type]
    assert list(caught.value.errors) == [field]
    return caught.value.errors[field][0]


@pytest.mark.usefixtures("clean")
def test_a_missing_namespace_is_noticed_and_made_only_when_asked_for(
    workspace: Workspace, attached: Cluster, kube: Kube
) -> None:
    given = {"workspace": workspace, "cluster": attached, "name": "berths", "namespace": "berths"}

    assert "has no namespace berths" in refused("namespace", create_namespace=False, **given)
    assert kube.find(NAMESPACES, "berths") is None

    target = create_target(
        workspace, cluster=attached, name="berths", namespace="berths", create_namespace=True, actor=SLIPWAY
    )
    made = kube.get(NAMESPACES, "berths")
    assert made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespaces_of(attached.uid) == ["berths"]
    assert "lent already" in refused("namespace", create_namespace=False, **(given | {"name": "other"}))

    delete_target(target, actor=SLIPWAY)
    until(lambda: kube.find(NAMESPACES, "berths") is None)
    actions = AuditEntry.objects.filter(subject_kind="compute-target").order_by("id")
    assert list(actions.values_list("action", flat=True)) == ["target.create", "target.delete"]


@pytest.mark.usefixtures("clean")
def test_a_namespace_with_objects_of_others_stays(workspace: Workspace, attached: Cluster, kube: Kube) -> None:
    target = create_target(
        workspace, cluster=attached, name="berths", namespace="berths", create_namespace=True, actor=SLIPWAY
    )
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "berths"}}
    kube.create(theirs)

    delete_target(target, actor=SLIPWAY)

    assert "deletionTimestamp" not in kube.get(NAMESPACES, "berths")["metadata"]
    assert kube.find(CONFIG_MAPS, "theirs", "berths")


@pytest.mark.usefixtures("clean")
def test_a_namespace_somebody_else_made_is_lent_and_left_as_it_was(
    workspace: Workspace, attached: Cluster, kube: Kube
) -> None:
    before = kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "theirs"}})
    target = create_target(
        workspace, cluster=attached, name="theirs", namespace="theirs", create_namespace=True, actor=SLIPWAY
    )
    assert not target.namespace_made_by_us

    delete_target(target, actor=SLIPWAY)

    after = kube.get(NAMESPACES, "theirs")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]


@pytest.mark.parametrize("namespace", ["kube-system", "slipway-system", "kube-anything"])
def test_namespaces_of_the_cluster_itself_are_never_lent(
    namespace: str, workspace: Workspace, attached: Cluster
) -> None:
    refused("namespace", workspace=workspace, cluster=attached, name="x1", namespace=namespace, create_namespace=False)


def test_the_router_of_another_studio_is_lent_nothing(workspace: Workspace, attached: Cluster, kube: Kube) -> None:
    other = "11111111-0000-0000-0000-000000000000"
    kube.create(manifests.namespace("slipway-system", studio=other))
    kube.create(manifests.targets_config_map(["theirs"], studio=other))

    with pytest.raises(SlipwayError, match="another Slipway studio"):
        create_target(
            workspace, cluster=attached, name="x1", namespace="default", create_namespace=False, actor=SLIPWAY
        )

    assert kube.get(CONFIG_MAPS, "slipway-targets", "slipway-system")["data"] == {"namespaces": "theirs"}
    kube.delete(NAMESPACES, "slipway-system")
    until(lambda: kube.find(NAMESPACES, "slipway-system") is None)


def test_a_target_with_endpoints_stays(workspace: Workspace, attached: Cluster) -> None:
    target = create_target(
        workspace, cluster=attached, name="main", namespace="default", create_namespace=False, actor=SLIPWAY
    )
    Endpoint.objects.create(workspace=workspace, target=target, name="iris")

    with pytest.raises(SlipwayError, match="iris"):
        delete_target(target, actor=SLIPWAY)


def test_a_size_is_offered_changed_and_taken_away(attached: Cluster) -> None:
    assert [size.name for size in sizes_of(attached)] == ["defaultinstancetype"]
    small: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}

    row = create_instance_type(attached, name="small", **small, actor=SLIPWAY)
    found = find_size(attached, name="small")
    assert found is not None
    assert found.limits == {"cpu": "1", "memory": "128Mi"}
    with pytest.raises(FieldErrors):
        create_instance_type(attached, name="small", **small, actor=SLIPWAY)

    update_instance_type(row, requests=small["requests"], limits={"cpu": "2", "memory": "1Gi"}, actor=SLIPWAY)
    entry = AuditEntry.objects.get(action="instance-type.update")
    assert entry.before is not None
    assert entry.after is not None
    assert entry.before["limits"] == {"cpu": "1", "memory": "128Mi"}
    assert entry.after["limits"] == {"cpu": "2", "memory": "1Gi"}

    delete_instance_type(row, actor=SLIPWAY)
    assert find_size(attached, name="small") is None


def test_making_the_default_size_replaces_the_built_in_one(attached: Cluster) -> None:
    limits = {"cpu": "3", "memory": "3Gi"}
    create_instance_type(attached, name="defaultinstancetype", requests=limits, limits=limits, actor=SLIPWAY)

    assert [(size.built_in, size.limits) for size in sizes_of(attached)] == [(False, limits)]
    assert find_size(attached, name="") == sizes_of(attached)[0]


def test_two_workspaces_cannot_mean_different_sizes_by_one_name(attached: Cluster) -> None:
    limits = {"cpu": "3", "memory": "3Gi"}
    other = Cluster.objects.create(
        workspace=Workspace.objects.create(name="elsewhere"),
        name="same",
        uid=attached.uid,
        server=attached.server,
        connection=attached.connection,
    )
    InstanceType.objects.create(cluster=other, name="wide", requests=limits, limits={"cpu": "4", "memory": "4Gi"})

    with pytest.raises(FieldErrors, match="already another size"):
        create_instance_type(attached, name="wide", requests=limits, limits=limits, actor=SLIPWAY)
