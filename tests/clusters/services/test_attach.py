"""Attaching a real cluster: what is checked, what is written down, and what is refused."""

import socket
from dataclasses import replace

import pytest
import yaml
from django.contrib.auth.models import User

from clusters.connections import kube_for
from clusters.kube import transport
from clusters.kube.connection import Connection
from clusters.models import Cluster, ClusterState, ComputeTarget
from clusters.services import attach_cluster, check_cluster, detach_cluster
from clusters.tasks import attach as attach_task
from clusters.tasks.check import check_now
from studio.actor import SLIPWAY, Actor
from studio.errors import FieldErrors, SlipwayError
from studio.models import AuditEntry, Operation, OperationState, StepState, Workspace
from tests.clusters.conftest import RunningCluster


def attach(workspace: Workspace, text: str, *, name: str = "quay") -> tuple[Cluster, Operation]:
    cluster, operation = attach_cluster(workspace, name=name, kubeconfig_text=text, context=None, actor=SLIPWAY)
    attach_task.advance(str(operation.pk))
    cluster.refresh_from_db()
    operation.refresh_from_db()
    return cluster, operation


def with_user(text: str, **user: str) -> str:
    config = yaml.safe_load(text)
    config["users"][0]["user"] = user
    return yaml.safe_dump(config)


def with_server(text: str, server: str) -> str:
    config = yaml.safe_load(text)
    config["clusters"][0]["cluster"]["server"] = server
    return yaml.safe_dump(config)


def dead_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"https://127.0.0.1:{server.getsockname()[1]}"


def test_every_question_is_a_step_and_the_answers_are_kept(
    workspace: Workspace, running_cluster: RunningCluster, alice: User
) -> None:
    actor = Actor(user=alice, name="alice", address="10.0.0.1")
    cluster, operation = attach_cluster(
        workspace, name="quay", kubeconfig_text=running_cluster.kubeconfig, context=None, actor=actor
    )
    attach_task.advance(str(operation.pk))

    operation.refresh_from_db()
    cluster.refresh_from_db()
    assert operation.state == OperationState.SUCCEEDED
    assert {step.state for step in operation.steps.all()} == {StepState.SUCCEEDED}
    assert cluster.state == ClusterState.CONNECTED
    assert cluster.runtime == "process"
    assert cluster.version.startswith("v1.")
    assert cluster.nodes[0]["ready"]
    assert cluster.nodes[0]["allocatable"]["cpu"] == 8000
    entry = AuditEntry.objects.get(action="cluster.attach")
    assert entry.actor == alice
    assert "token" not in str(entry.after)


def test_credentials_are_encrypted_in_the_database(attached: Cluster, running_cluster: RunningCluster) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT connection FROM clusters_cluster WHERE id = %s", [attached.pk])
        stored = cursor.fetchone()[0]
    assert running_cluster.connection.token not in stored
    assert Connection.from_json(attached.connection) == running_cluster.connection


def test_attaching_twice_with_the_same_credentials_does_nothing_more(
    workspace: Workspace, attached: Cluster, running_cluster: RunningCluster
) -> None:
    again, operation = attach(workspace, running_cluster.kubeconfig)

    assert again == attached
    assert Operation.objects.get() == operation
    assert Cluster.objects.count() == 1


def test_the_same_cluster_under_a_second_name_is_refused_with_the_first_name(
    workspace: Workspace, attached: Cluster, running_cluster: RunningCluster
) -> None:
    other, operation = attach(workspace, running_cluster.kubeconfig, name="pier")

    assert operation.cause_name == "ClusterAlreadyAttached"
    assert "as quay" in operation.cause_text
    assert other.state == ClusterState.UNAUTHORIZED


def test_the_same_cluster_may_be_attached_to_another_workspace(
    attached: Cluster, running_cluster: RunningCluster
) -> None:
    other, operation = attach(Workspace.objects.create(name="elsewhere"), running_cluster.kubeconfig)

    assert operation.state == OperationState.SUCCEEDED
    assert other.uid == attached.uid


def test_an_unreachable_server_is_named_and_stays_in_the_list(
    workspace: Workspace, running_cluster: RunningCluster
) -> None:
    cluster, operation = attach(workspace, with_server(running_cluster.kubeconfig, dead_address()))

    assert operation.state == OperationState.FAILED
    assert operation.cause_name == "ClusterNotReachable"
    assert operation.steps.get(name="reach").state == StepState.FAILED
    assert operation.steps.get(name="rights").state == StepState.WAITING
    assert cluster.state == ClusterState.UNREACHABLE
    assert "refuses connections" in cluster.state_text


def test_a_server_that_hangs_is_named_by_its_address(
    workspace: Workspace, running_cluster: RunningCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "CONNECT_SECONDS", 0.5)  # it is tried several times
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections and never says a word
        address = f"https://127.0.0.1:{silent.getsockname()[1]}"
        cluster, operation = attach(workspace, with_server(running_cluster.kubeconfig, address))

    assert operation.cause_name == "ClusterNotReachable"
    assert cluster.state == ClusterState.UNREACHABLE
    assert cluster.state_text == f"{address} did not answer in time"


def test_a_token_nobody_knows_is_named(workspace: Workspace, running_cluster: RunningCluster) -> None:
    cluster, operation = attach(workspace, with_user(running_cluster.kubeconfig, token="wrong"))

    assert operation.cause_name == "ClusterUnauthorized"
    assert cluster.state == ClusterState.UNAUTHORIZED


def test_new_credentials_must_lead_to_the_same_cluster(
    workspace: Workspace, attached: Cluster, running_cluster: RunningCluster
) -> None:
    before = attached.connection

    with pytest.raises(FieldErrors) as caught:
        attach(workspace, with_server(running_cluster.kubeconfig, dead_address()))

    attached.refresh_from_db()
    assert "kubeconfig" in caught.value.errors
    assert attached.connection == before


def test_a_name_nobody_could_type_into_an_address_is_refused(workspace: Workspace) -> None:
    for name in ("Quay", "q", "a--b", "-quay", "attach", "x" * 33):
        with pytest.raises(FieldErrors):
            attach_cluster(workspace, name=name, kubeconfig_text="", context=None, actor=SLIPWAY)


def test_the_status_says_since_when_a_cluster_does_not_answer(
    attached: Cluster, running_cluster: RunningCluster
) -> None:
    gone = replace(running_cluster.connection, server=dead_address())
    attached.connection = gone.to_json()
    attached.save()
    nodes = attached.nodes

    check_now(attached)
    first = attached.state_since
    check_now(attached)

    attached.refresh_from_db()
    assert attached.state == ClusterState.UNREACHABLE
    assert attached.state_since == first
    assert attached.checked_at is not None
    assert attached.checked_at > (first or attached.checked_at)
    assert attached.nodes == nodes
    attached.connection = running_cluster.connection.to_json()
    check_now(attached)
    assert attached.state == ClusterState.CONNECTED
    assert kube_for(attached).server == running_cluster.connection.server


def test_another_cluster_at_the_same_address_is_not_taken_for_the_old_one(attached: Cluster) -> None:
    attached.uid = "of-the-old-cluster"
    attached.save()

    check_now(attached)

    assert attached.state == ClusterState.UNREACHABLE
    assert "Another cluster answers" in attached.state_text


def test_detaching_forgets_the_cluster_but_not_while_it_is_used(workspace: Workspace, attached: Cluster) -> None:
    target = ComputeTarget.objects.create(workspace=workspace, cluster=attached, name="models", namespace="models")
    with pytest.raises(SlipwayError, match="models"):
        detach_cluster(attached, actor=SLIPWAY)
    target.delete()

    detach_cluster(attached, actor=SLIPWAY)

    assert not Cluster.objects.exists()
    assert AuditEntry.objects.filter(action="cluster.detach").count() == 1


def test_a_check_that_is_under_way_is_not_started_again(attached: Cluster) -> None:
    first = check_cluster(attached, actor=SLIPWAY)

    assert check_cluster(attached, actor=SLIPWAY) == first
    with pytest.raises(SlipwayError, match="busy"):
        detach_cluster(attached, actor=SLIPWAY)
