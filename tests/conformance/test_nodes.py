"""Several nodes: who goes where, who has to leave, and what happens when a node stops."""

from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Cluster, Kubectl
from tests.conformance.test_scheduling import until_unschedulable
from tests.conformance.test_services import SLICES, server, service, until_endpoints
from tests.conformance.world import Obj, Place, condition, is_ready

HOSTNAME = "kubernetes.io/hostname"
LOSS_SECONDS = 240.0  # a real cluster gives a silent node 40 to 50 seconds

pytestmark = [pytest.mark.needs("list", "nodes"), pytest.mark.needs("patch", "nodes")]


@pytest.fixture
def workers(cluster: Cluster) -> list[str]:
    """The nodes that take any pod, at least two."""
    free = [n for n in cluster.nodes() if not n["spec"].get("taints") and condition(n, "Ready") == "True"]
    if len(free) < 2:
        pytest.skip("needs two nodes that take any pod")
    return [node["metadata"]["name"] for node in free]


@pytest.fixture
def tainted(cluster: Cluster, place: Place, workers: list[str]) -> Iterator[tuple[str, Obj]]:
    """One of the nodes, and the taint that whoever is there must tolerate or leave."""
    if not cluster.may_disturb_nodes:
        pytest.skip("needs SLIPWAY_TEST_STOP_NODE: everybody's pods would have to leave the node")
    name = workers[-1]
    taint = {"key": f"slipway.dev/{place.name}", "value": "yes", "effect": "NoExecute"}
    yield name, taint
    left = [
        t for t in cluster.admin.get(f"/api/v1/nodes/{name}")["spec"].get("taints") or () if t["key"] != taint["key"]
    ]
    cluster.admin.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": left or None}})


def hostname(cluster: Cluster, node: str) -> str:
    return str(cluster.admin.get(f"/api/v1/nodes/{node}")["metadata"]["labels"][HOSTNAME])


def node_of(pod: Obj) -> str:
    return str(pod["spec"].get("nodeName", ""))


def test_each_node_can_be_selected_by_its_label(cluster: Cluster, place: Place, workers: list[str]) -> None:
    for number, worker in enumerate(workers):
        place.run(f"web-{number}", spec={"nodeSelector": {HOSTNAME: hostname(cluster, worker)}})
    assert [node_of(place.until_ready(f"web-{number}")) for number in range(len(workers))] == workers


def test_affinity_chooses_among_nodes(cluster: Cluster, place: Place, workers: list[str]) -> None:
    host = hostname(cluster, workers[0])
    terms = [{"matchExpressions": [{"key": HOSTNAME, "operator": "NotIn", "values": [host]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    place.run("web", spec={"affinity": {"nodeAffinity": required}})
    assert node_of(place.until_ready("web")) != workers[0]


@pytest.mark.needs("patch", "nodes/status")
def test_a_node_takes_as_many_pods_as_it_has_of_a_resource_of_its_own(
    cluster: Cluster, place: Place, workers: list[str]
) -> None:
    """As a device plug-in gives it, such as nvidia.com/gpu."""
    node, name = f"/api/v1/nodes/{workers[-1]}/status", f"example.org/{place.name}"
    cluster.admin.patch(node, {"status": {"capacity": {name: "1"}, "allocatable": {name: "1"}}})
    try:
        wanted = {"resources": {"limits": {name: "1"}}}
        place.run("first", **wanted)
        assert node_of(place.until_ready("first")) == workers[-1]
        place.run("second", **wanted)
        told = until_unschedulable(place, "second")
        assert told.startswith(f"0/{len(cluster.nodes())} nodes are available: ")
        assert f"Insufficient {name}" in told
        place.caller.delete(place.path("pods", "first"))
        assert node_of(place.until_ready("second")) == workers[-1]
    finally:
        cluster.admin.patch(node, {"status": {"capacity": {name: None}, "allocatable": {name: None}}})


def test_a_cordoned_node_keeps_its_pods_and_gets_no_more(
    cluster: Cluster, place: Place, workers: list[str], kubectl: Kubectl
) -> None:
    cordoned, *others = workers
    place.run("early", spec={"nodeSelector": {HOSTNAME: hostname(cluster, cordoned)}})
    place.until_ready("early")
    kubectl("cordon", cordoned)
    try:
        place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=3))
        place.until_available("web", replicas=3)
        assert {node_of(pod) for pod in place.pods("web")} <= set(others)
        assert is_ready(place.caller.get(place.path("pods", "early")))
    finally:
        kubectl("uncordon", cordoned)


def test_whoever_does_not_tolerate_a_new_taint_has_to_leave(
    cluster: Cluster, place: Place, tainted: tuple[str, Obj]
) -> None:
    name, taint = tainted
    there = {"nodeSelector": {HOSTNAME: hostname(cluster, name)}}
    tolerant = {**there, "tolerations": [{"key": taint["key"], "operator": "Exists"}]}
    place.run("leaves", spec=there)
    place.run("stays", spec=tolerant)
    place.until_ready("leaves")
    place.until_ready("stays")
    cluster.admin.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": [taint]}})
    place.caller.until_gone(place.path("pods", "leaves"))
    assert is_ready(place.caller.get(place.path("pods", "stays")))


def test_a_drained_node_is_left_by_all_and_its_deployments_go_on_elsewhere(
    cluster: Cluster, place: Place, workers: list[str], kubectl: Kubectl
) -> None:
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=2))
    place.until_available("web", replicas=2)
    drained = node_of(place.pods("web")[0])
    try:
        kubectl("drain", drained, "--ignore-daemonsets", "--force", "--pod-selector=app=web", "--timeout=60s")
        place.until_available("web", replicas=2)
        assert drained not in {node_of(pod) for pod in place.pods("web")}
    finally:
        kubectl("uncordon", drained)


def test_a_node_that_stops_is_not_ready_and_its_pods_move(cluster: Cluster, place: Place, workers: list[str]) -> None:
    if not cluster.may_disturb_nodes:
        pytest.skip("needs SLIPWAY_TEST_STOP_NODE and SLIPWAY_TEST_START_NODE")
    patience = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for key in ("unreachable", "not-ready")
    ]
    template = place.template("web", **server(), spec={"tolerations": patience})
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=2, template=template))
    place.caller.create(place.path("services"), service())
    place.until_available("web", replicas=2)
    until_endpoints(place, ready=2)
    gone = place.pods("web")[0]
    lost = node_of(gone)
    cluster.stop_node(lost)
    try:
        node = f"/api/v1/nodes/{lost}"
        silent = cluster.admin.until(node, lambda each: condition(each, "Ready") == "Unknown", seconds=LOSS_SECONDS)
        (told,) = [each for each in silent["status"]["conditions"] if each["type"] == "Ready"]
        assert (told["reason"], told["message"]) == ("NodeStatusUnknown", "Kubelet stopped posting node status.")

        def moved(_: Obj) -> bool:
            ready = [pod for pod in place.pods("web") if is_ready(pod)]
            return len(ready) == 2 and lost not in {node_of(pod) for pod in ready}

        place.caller.until(place.path("pods"), moved, seconds=LOSS_SECONDS)
        left = place.caller.get(place.path("pods", gone["metadata"]["name"]))
        assert left["metadata"]["deletionTimestamp"]  # nobody is there to confirm its end

        def answering(_: Obj) -> bool:
            ready = [each for each in until_endpoints(place, ready=2) if each["conditions"]["ready"]]
            return lost not in {each["nodeName"] for each in ready}

        place.caller.until(place.path(SLICES), answering)
    finally:
        cluster.start_node(lost)
    cluster.admin.until(node, lambda each: condition(each, "Ready") == "True", seconds=LOSS_SECONDS)
    place.caller.until_gone(place.path("pods", gone["metadata"]["name"]), seconds=LOSS_SECONDS)
    cluster.admin.until(node, lambda each: not each["spec"].get("taints"), seconds=LOSS_SECONDS)
