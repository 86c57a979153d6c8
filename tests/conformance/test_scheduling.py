"""Where pods go, and what is said when there is no place for them."""

import pytest

from tests.conformance.conftest import Cluster, Kubectl
from tests.conformance.world import Obj, Place, condition


def until_unschedulable(place: Place, name: str) -> str:
    """The scheduler's sentence."""
    pod = place.caller.until(place.path("pods", name), lambda each: condition(each, "PodScheduled") == "False")
    (told,) = [each for each in pod["status"]["conditions"] if each["type"] == "PodScheduled"]
    assert told["reason"] == "Unschedulable"
    assert pod["status"]["phase"] == "Pending"
    event = place.until_event(name, "FailedScheduling")
    assert event["type"] == "Warning"
    return str(told["message"])


@pytest.mark.needs("list", "nodes")
def test_a_node_tells_what_it_has_and_that_it_is_ready(cluster: Cluster) -> None:
    for node in cluster.nodes():
        assert condition(node, "Ready") == "True"
        assert {"cpu", "memory", "pods"} <= set(node["status"]["allocatable"])
        labels = node["metadata"]["labels"]
        assert {"kubernetes.io/hostname", "kubernetes.io/os", "kubernetes.io/arch"} <= set(labels)
        assert node["status"]["nodeInfo"]["kubeletVersion"].startswith("v1.")


@pytest.mark.needs("list", "nodes")
@pytest.mark.parametrize("resource", ["cpu", "memory"])
def test_what_no_node_can_hold_waits_and_is_told_why(cluster: Cluster, place: Place, resource: str) -> None:
    amount = {"cpu": "100000", "memory": "1000Ti"}[resource]
    place.run("big", resources={"requests": {resource: amount}})
    assert f"Insufficient {resource}" in until_unschedulable(place, "big")
    count = len(cluster.nodes())
    assert until_unschedulable(place, "big").startswith(f"0/{count} nodes are available: ")


def test_a_resource_that_nobody_has_is_named(place: Place) -> None:
    amount = {"example.org/quantum": "1"}
    place.run("big", resources={"requests": amount, "limits": amount})
    assert "Insufficient example.org/quantum" in until_unschedulable(place, "big")


def test_a_selector_that_no_node_matches_is_told(place: Place) -> None:
    place.run("web", spec={"nodeSelector": {"slipway.dev/no-such": "node"}})
    told = until_unschedulable(place, "web")
    assert "didn't match Pod's node affinity/selector" in told


@pytest.mark.needs("list", "nodes")
def test_a_selector_leads_to_the_node(cluster: Cluster, place: Place) -> None:
    name = cluster.nodes()[-1]["metadata"]["labels"]["kubernetes.io/hostname"]
    tolerate = [{"operator": "Exists"}]
    place.run("web", spec={"nodeSelector": {"kubernetes.io/hostname": name}, "tolerations": tolerate})
    pod = place.until_ready("web")
    assert pod["spec"]["nodeName"] == cluster.nodes()[-1]["metadata"]["name"]


@pytest.mark.needs("list", "nodes")
@pytest.mark.needs("patch", "nodes")
def test_a_pod_that_waits_is_placed_once_a_node_fits(cluster: Cluster, place: Place) -> None:
    label = f"slipway.dev/{place.name}"
    place.run("web", spec={"nodeSelector": {label: "yes"}, "tolerations": [{"operator": "Exists"}]})
    until_unschedulable(place, "web")
    node = f"/api/v1/nodes/{cluster.nodes()[0]['metadata']['name']}"
    cluster.admin.patch(node, {"metadata": {"labels": {label: "yes"}}})
    try:
        place.until_ready("web")
    finally:
        cluster.admin.patch(node, {"metadata": {"labels": {label: None}}})


@pytest.mark.needs("list", "nodes")
@pytest.mark.needs("patch", "nodes")
def test_a_tainted_node_takes_only_who_tolerates_it(cluster: Cluster, place: Place) -> None:
    name = cluster.nodes()[0]["metadata"]["name"]
    node = f"/api/v1/nodes/{name}"
    before = cluster.admin.get(node)["spec"].get("taints")
    taint = {"key": f"slipway.dev/{place.name}", "value": "yes", "effect": "NoSchedule"}
    host = cluster.admin.get(node)["metadata"]["labels"]["kubernetes.io/hostname"]
    there: Obj = {"nodeSelector": {"kubernetes.io/hostname": host}}
    cluster.admin.patch(node, {"spec": {"taints": [*(before or ()), taint]}})
    try:
        place.run("web", spec=there)
        assert "had untolerated taint" in until_unschedulable(place, "web")  # newer servers do not say which
        tolerated = [{"key": taint["key"], "operator": "Exists"}, {"operator": "Exists"}]
        place.run("tolerant", spec={**there, "tolerations": tolerated})
        place.until_ready("tolerant")
    finally:
        cluster.admin.patch(node, {"spec": {"taints": before}})
    place.until_ready("web")


@pytest.mark.needs("list", "nodes")
@pytest.mark.needs("patch", "nodes")
def test_a_cordoned_node_takes_nobody_new(cluster: Cluster, place: Place, kubectl: Kubectl) -> None:
    node = cluster.nodes()[0]["metadata"]
    there: Obj = {"nodeSelector": {"kubernetes.io/hostname": node["labels"]["kubernetes.io/hostname"]}}
    kubectl("cordon", node["name"])
    try:
        place.run("web", spec=there)
        assert "were unschedulable" in until_unschedulable(place, "web")
    finally:
        kubectl("uncordon", node["name"])
    place.until_ready("web")
