"""How far an installation is, from objects a cluster might hold: pure."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clusters.capacity import Node
from clusters.install.address import judge_address, service_address
from clusters.install.progress import (
    DEADLINE,
    PATIENCE,
    Done,
    Going,
    Stuck,
    Verdict,
    WorkloadFacts,
    judge_workload,
    other_studio,
)
from routerd import contract

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LATER = PATIENCE + timedelta(seconds=1)


def workload(ready: int = 0, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "routerd", "generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "readyReplicas": ready, "updatedReplicas": ready, "replicas": 2, **status},
    }


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "routerd-x"}, "status": {"phase": "Pending", **status}}


def judge(facts: WorkloadFacts, *, after: timedelta = timedelta(0)) -> Verdict:
    return judge_workload(facts, title="The router", now=NOW + after, since=NOW)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    status = {"image": "example/slipway:1", "state": {"waiting": {"reason": reason, "message": message}}}
    return pod(containerStatuses=[status])


def test_all_pods_ready_is_done() -> None:
    assert judge(WorkloadFacts(workload(2))) == Done("2 of 2 ready.")


def test_pods_of_the_generation_before_do_not_count() -> None:
    assert isinstance(judge(WorkloadFacts(workload(2, observedGeneration=1))), Going)
    assert isinstance(judge(WorkloadFacts(workload(2, updatedReplicas=1))), Going)
    assert isinstance(judge(WorkloadFacts(workload(2, replicas=3))), Going)


def test_an_image_that_cannot_be_pulled_is_given_time_and_then_named() -> None:
    facts = WorkloadFacts(workload(), pods=[waiting("ImagePullBackOff", "manifest unknown")])

    assert isinstance(judge(facts), Going)
    found = judge(facts, after=LATER)
    assert isinstance(found, Stuck)
    assert (found.name, found.proof) == ("ImagePullLoopBackOff", "manifest unknown")
    assert "example/slipway:1" in found.text


def test_a_pod_that_ends_again_and_again_is_named_at_once_with_its_log() -> None:
    crashed = pod(
        containerStatuses=[
            {"restartCount": 3, "ready": False, "lastState": {"terminated": {"exitCode": 2}}, "state": {"waiting": {}}}
        ]
    )

    found = judge(WorkloadFacts(workload(), pods=[crashed]))

    assert isinstance(found, Stuck)
    assert (found.name, found.logs_of) == ("DeploymentCrashLoopBackOff", "routerd-x")


def test_no_room_is_named_in_the_schedulers_words() -> None:
    condition = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}

    found = judge(WorkloadFacts(workload(), pods=[pod(conditions=[condition])]), after=LATER)

    assert isinstance(found, Stuck)
    assert (found.name, found.proof) == ("PodUnschedulable", "0/1 nodes are available: 1 Insufficient cpu.")


def test_a_quota_speaks_through_the_replica_set() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "pods is forbidden: exceeded quota: small"}
    facts = WorkloadFacts(workload(), replica_sets=[{"status": {"conditions": [condition]}}])

    found = judge(facts, after=LATER)

    assert isinstance(found, Stuck)
    assert found.name == "OutOfQuota"


def test_without_any_sign_the_deadline_ends_it_with_the_newest_warnings() -> None:
    event = {"type": "Warning", "reason": "Unhealthy", "message": "probe failed", "metadata": {}}

    found = judge(WorkloadFacts(workload(1), pods=[pod()], events=[event]), after=DEADLINE + timedelta(seconds=1))

    assert isinstance(found, Stuck)
    assert (found.name, found.proof) == ("ResourceNotReady", "Unhealthy: probe failed")


def service(kind: str, **status: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "https", "port": 443, "nodePort": 30443}]
    return {"spec": {"type": kind, "ports": ports, "clusterIP": "10.96.0.9"}, "status": {"loadBalancer": status}}


@pytest.mark.parametrize(
    ("found", "address"),
    [
        (service("LoadBalancer", ingress=[{"ip": "10.4.0.99"}]), "http://10.4.0.99"),
        (service("LoadBalancer", ingress=[{"hostname": "lb.example.org"}]), "http://lb.example.org"),
        (service("LoadBalancer", ingress=[{"ip": "fd00::1"}]), "http://[fd00::1]"),
        (service("LoadBalancer"), ""),
        (service("NodePort"), "http://10.0.0.2:30080"),
        (service("ClusterIP"), "http://10.96.0.9"),
    ],
)
def test_the_address_follows_from_the_kind_of_service(found: dict[str, Any], address: str) -> None:
    nodes = [Node(name="a", ready=False, address="10.0.0.1"), Node(name="b", ready=True, address="10.0.0.2")]

    assert service_address(found, nodes=nodes) == address
    by_tls = address.replace("http:", "https:").replace("30080", "30443")
    assert service_address(found, nodes=nodes, scheme="https") == by_tls


def address(events: list[dict[str, Any]], *, after: timedelta, given: str = "") -> Verdict:
    found = service("LoadBalancer")
    return judge_address(found, events=events, nodes=(), given=given, scheme="http", now=NOW + after, since=NOW)


def test_a_port_that_is_taken_is_named() -> None:
    event = {"type": "Warning", "reason": "PortInUse", "message": "127.0.0.1:80 is in use", "metadata": {}}

    assert isinstance(address([event], after=timedelta(seconds=2)), Going)
    found = address([event], after=timedelta(seconds=11))
    assert isinstance(found, Stuck)
    assert found.name == "PortNotAvailable"
    assert "127.0.0.1:80 is in use" in found.proof
    assert found.text == "Port 80 cannot be given to the router: something else listens there."


def test_a_node_port_that_is_taken_is_named_as_one() -> None:
    text = "can't listen on node port 30080 (127.0.0.1:30080/tcp): Address already in use"
    event = {"type": "Warning", "reason": "FailedToListen", "message": text, "metadata": {}}

    found = address([event], after=timedelta(seconds=11))

    assert isinstance(found, Stuck)
    assert found.text == "Node port 30080 cannot be given to the router: something else listens there."


def test_a_cluster_without_load_balancers_is_named_at_the_deadline() -> None:
    found = address([], after=DEADLINE + timedelta(seconds=1))

    assert isinstance(found, Stuck)
    assert found.name == "LoadBalancerNotSupported"


def test_what_another_studio_made_is_recognised() -> None:
    theirs = {"kind": "Deployment", "metadata": {"name": "routerd", "labels": {contract.STUDIO: "other"}}}
    nobodys = {"kind": "Namespace", "metadata": {"name": "slipway-system"}}

    assert other_studio([None, nobodys, theirs], studio="mine") == "Deployment routerd"
    assert other_studio([nobodys, theirs], studio="other") == ""
