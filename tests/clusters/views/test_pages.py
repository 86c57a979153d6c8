"""The pages of clusters, compute targets and instance types: who sees them, what they say, what they cost."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from clusters.capacity import Node, to_json
from clusters.models import Cluster, ClusterState, ComputeTarget, InstanceType, RouterState
from studio.models import Membership, Role, Workspace

SignIn = Callable[[User], Client]
PAGES = (
    "clusters/",
    "clusters/quay/",
    "compute-targets/",
    "instance-types/",
)
CHANGES = (
    "clusters/attach",
    "clusters/quay/router",
    "compute-targets/new",
    "instance-types/new",
    "instance-types/quay/big/",
)
POSTS = (
    "clusters/attach",
    "clusters/quay/check",
    "clusters/quay/detach",
    "clusters/quay/router",
    "clusters/quay/router/uninstall",
    "compute-targets/new",
    "compute-targets/models/delete",
    "instance-types/new",
    "instance-types/quay/big/",
    "instance-types/quay/big/delete",
)


def node(name: str = "quay-01", **more: Any) -> Node:
    values: dict[str, Any] = {
        "ready": True,
        "allocatable": {"cpu": 16000, "memory": 64 << 30, "pods": 110},
        "requested": {"cpu": 4000, "memory": 16 << 30},
        "pods": 7,
    }
    return Node(name=name, **(values | more))


def add_cluster(workspace: Workspace, name: str = "quay", **more: Any) -> Cluster:
    """A row as the last look left it; pages read rows only."""
    values: dict[str, Any] = {
        "uid": f"uid-{name}",
        "server": "https://10.4.0.10:6443",
        "connection": "{}",
        "version": "v1.33.2",
        "state": ClusterState.CONNECTED,
        "state_since": timezone.now(),
        "checked_at": timezone.now(),
        "nodes": to_json([node()]),
        "router_state": RouterState.READY,
        "router_address": "http://10.4.0.99",
    }
    cluster = Cluster.objects.create(workspace=workspace, name=name, **(values | more))
    requests, limits = {"cpu": "2", "memory": "4Gi"}, {"cpu": "4", "memory": "8Gi"}
    InstanceType.objects.create(cluster=cluster, name="big", requests=requests, limits=limits)
    return cluster


@pytest.fixture
def quay(workspace: Workspace) -> Cluster:
    cluster = add_cluster(workspace)
    ComputeTarget.objects.create(workspace=workspace, cluster=cluster, name="models", namespace="models")
    return cluster


@pytest.mark.parametrize("path", PAGES)
def test_a_member_sees_it_and_a_stranger_does_not_know_it_is_there(
    path: str, quay: Cluster, bob: User, charlie: User, client_of: SignIn
) -> None:
    assert client_of(bob).get(f"/w/harbour/{path}").status_code == 200
    assert client_of(charlie).get(f"/w/harbour/{path}").status_code == 404


@pytest.mark.parametrize("path", CHANGES)
def test_a_form_that_changes_is_for_operators(
    path: str, quay: Cluster, bob: User, alice: User, client_of: SignIn
) -> None:
    assert client_of(bob).get(f"/w/harbour/{path}").status_code == 403
    assert client_of(alice).get(f"/w/harbour/{path}").status_code == 200


@pytest.mark.parametrize("path", POSTS)
def test_nothing_is_changed_for_a_reader_or_a_stranger(
    path: str, quay: Cluster, bob: User, charlie: User, client_of: SignIn
) -> None:
    Membership.objects.filter(user=bob).update(role=Role.READER)

    assert client_of(bob).post(f"/w/harbour/{path}").status_code == 403
    assert client_of(charlie).post(f"/w/harbour/{path}").status_code == 404
    assert Cluster.objects.filter(pk=quay.pk).exists()
    assert quay.instance_types.count() == 1
    assert quay.compute_targets.count() == 1


@pytest.mark.parametrize("path", PAGES)
def test_a_page_asks_the_database_the_same_number_of_questions_however_many_rows(
    path: str, quay: Cluster, bob: User, workspace: Workspace, client_of: SignIn, django_assert_max_num_queries: Any
) -> None:
    client = client_of(bob)
    client.get(f"/w/harbour/{path}")
    few = queries_of(client, path, django_assert_max_num_queries)
    for name in ("anchor", "buoy"):
        other = add_cluster(workspace, name)
        ComputeTarget.objects.create(workspace=workspace, cluster=other, name=name, namespace=name)
    for name in ("more", "most"):
        InstanceType.objects.create(cluster=quay, name=name, requests={"cpu": "1", "memory": "1Gi"}, limits={})
        ComputeTarget.objects.create(workspace=workspace, cluster=quay, name=name, namespace=name)

    assert queries_of(client, path, django_assert_max_num_queries) == few


def queries_of(client: Client, path: str, at_most: Any) -> int:
    with at_most(15) as captured:
        client.get(f"/w/harbour/{path}")
    return len(captured)


def test_the_list_begins_with_the_cluster_that_needs_somebody(
    quay: Cluster, bob: User, workspace: Workspace, client_of: SignIn
) -> None:
    add_cluster(workspace, "zulu", state=ClusterState.UNREACHABLE, state_text="It refuses connections")

    text = client_of(bob).get("/w/harbour/clusters/").content.decode()

    assert text.index("zulu") < text.index(">quay<")
    assert "1 cluster needs a look." in text
    assert "It refuses connections." in text


def test_a_node_that_does_not_report_has_no_figures(bob: User, workspace: Workspace, client_of: SignIn) -> None:
    down = node("quay-06", ready=False, why="Kubelet stopped posting node status.", ready_since="2026-05-08T09:00:00Z")
    add_cluster(workspace, nodes=to_json([node(), down]))

    text = client_of(bob).get("/w/harbour/clusters/quay/").content.decode()

    assert text.index("quay-06</b>") < text.index("quay-01</b>")
    assert "not reporting" in text
    assert "quay-06 does not report since 8 May 2026" in text


def test_what_was_true_before_a_cluster_fell_silent_is_not_shown_as_what_is(
    bob: User, workspace: Workspace, client_of: SignIn
) -> None:
    add_cluster(workspace, state=ClusterState.UNREACHABLE, state_text="It did not answer in time")

    text = client_of(bob).get("/w/harbour/clusters/quay/").content.decode()

    assert "Not reachable since" in text
    assert "as they were before" in text
    assert "1 of 1 ready" not in text
    assert text.count("not known") >= 3
    assert 'data-s="ok"' not in text


def test_the_embedded_cluster_says_what_it_does_not_enforce(bob: User, workspace: Workspace, client_of: SignIn) -> None:
    add_cluster(workspace, runtime="process", nodes=to_json([node(isolation="none")]))

    text = client_of(bob).get("/w/harbour/clusters/quay/").content.decode()

    assert "Not enforced here" in text
    assert "run as the studio's own user" in text


def test_a_region_comes_alone(quay: Cluster, bob: User, client_of: SignIn) -> None:
    answer = client_of(bob).get("/w/harbour/clusters/quay/?region=nodes", headers={"HX-Request": "true"})

    text = answer.content.decode()
    assert "quay-01" in text
    assert "<html" not in text


def test_what_was_typed_comes_back_with_what_is_wrong_with_it(quay: Cluster, alice: User, client_of: SignIn) -> None:
    typed = {
        "name": "gpu-1",
        "cluster": "quay",
        "requests.cpu": "8",
        "requests.memory": "lots",
        "limits.cpu": "4",
        "limits.memory": "8Gi",
        "limits.nvidia.com/gpu": "half",
        "tolerations": "dedicated=gpu:Never",
    }
    answer = client_of(alice).post("/w/harbour/instance-types/new", typed)

    text = answer.content.decode()
    assert answer.status_code == 422
    assert 'value="lots"' in text
    assert "Must be a quantity such as 500m, 2 or 2Gi." in text
    assert 'href="#f-gpu"' in text
    assert "dedicated=gpu:Never" in text
    assert not InstanceType.objects.filter(name="gpu-1").exists()


def test_a_kubeconfig_with_a_command_comes_back_with_what_to_do_instead(alice: User, client_of: SignIn) -> None:
    text = (
        "clusters: [{name: c, cluster: {server: 'https://10.0.0.1'}}]\n"
        "users: [{name: u, user: {exec: {command: touch, args: [/tmp/pwned]}}}]\n"
        "contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n"
    )

    answer = client_of(alice).post("/w/harbour/clusters/attach", {"name": "quay", "kubeconfig": text})

    assert answer.status_code == 422
    assert b"never runs a command" in answer.content
    assert b"touch" in answer.content
    assert not Cluster.objects.exists()


def test_the_contexts_of_an_uploaded_file_can_be_chosen(alice: User, client_of: SignIn, tmp_path: Any) -> None:
    file = tmp_path / "config"
    file.write_text("clusters: []\nusers: []\ncontexts: [{name: one, context: {}}, {name: two, context: {}}]\n")

    with file.open("rb") as upload:
        answer = client_of(alice).post("/w/harbour/clusters/attach", {"name": "quay", "file": upload})

    text = answer.content.decode()
    assert answer.status_code == 422
    assert '<option value="two">two</option>' in text
    assert "Choose one of its contexts." in text
