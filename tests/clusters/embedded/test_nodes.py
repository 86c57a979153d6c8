"""Several nodes on one machine: what was asked of them, cordons, loss and return."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clusters.embedded.controllers.nodes import stay, wanted_taints
from clusters.embedded.kubelet.node import Plan, plans_for
from clusters.embedded.resources import LEASES, NODES, PODS
from tests.clusters.embedded.conftest import Starter, World, container, deployment, http_get, pod, service
from tests.clusters.embedded.test_cluster import processes_of, ready_addresses

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SLEEP = ["sleep", "1000"]


def test_a_node_is_described_in_one_word() -> None:
    plan = Plan.parse("gpu-1,label:zone=b,taint:gpu=yes:NoSchedule,nvidia.com/gpu=2,cpu=4")
    assert plan == Plan(
        "gpu-1",
        {"zone": "b"},
        ({"key": "gpu", "value": "yes", "effect": "NoSchedule"},),
        {"nvidia.com/gpu": "2", "cpu": "4"},
    )


@pytest.mark.parametrize("text", ["n,zone", "n,taint:gpu=yes", "n,taint:gpu=yes:Never", "n,cpu=many", ",cpu=1"])
def test_a_node_that_is_described_wrongly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Plan.parse(text)


def test_described_nodes_take_the_place_of_their_names_and_the_others_are_plain() -> None:
    plans = plans_for(3, described=[Plan("local-2", {"zone": "b"}), Plan("gpu")])
    assert [plan.name for plan in plans] == ["local", "local-2", "local-3", "gpu"]
    assert plans[1].labels == {"zone": "b"}


def test_taints_follow_the_nodes_state_and_those_set_by_hand_stay() -> None:
    node: dict[str, Any] = {
        "spec": {"unschedulable": True, "taints": [{"key": "gpu", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
    }
    found = [(taint["key"], taint["effect"]) for taint in wanted_taints(node, now="t")]
    assert found == [
        ("gpu", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    ]


def test_a_pod_stays_as_long_as_it_tolerates() -> None:
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": (NOW - timedelta(seconds=10)).isoformat()}
    patient = {"key": "k", "operator": "Exists", "tolerationSeconds": 30}

    def left(*tolerations: dict[str, Any]) -> float | None:
        return stay({"spec": {"tolerations": list(tolerations)}}, taints=[taint], now=NOW)

    assert left() == 0
    assert left(patient) == 20
    assert left({"operator": "Exists"}) is None


def node_of(world: World, name: str) -> str:
    return str(world.get(name)["spec"].get("nodeName", ""))


async def test_pods_go_where_they_fit_and_the_sentence_names_every_reason(start: Starter) -> None:
    plans = plans_for(2, described=[Plan.parse("gpu,label:zone=b,taint:gpu=yes:NoSchedule,nvidia.com/gpu=1")])
    world = await start(nodes=plans)
    gpu = {"limits": {"nvidia.com/gpu": "1"}}
    tolerant = [{"key": "gpu", "operator": "Exists"}]
    world.run(pod("learner", container(SLEEP, resources=gpu), tolerations=tolerant))
    world.run(pod("zoned", container(SLEEP), nodeSelector={"zone": "b"}, tolerations=tolerant))
    await world.until_ready("learner")
    await world.until_ready("zoned")
    assert {node_of(world, "learner"), node_of(world, "zoned")} == {"gpu"}
    world.run(pod("second", container(SLEEP, resources=gpu), tolerations=tolerant))
    world.run(pod("blind", container(SLEEP, resources=gpu)))

    def refusal(name: str) -> str:
        conditions = (world.get(name).get("status") or {}).get("conditions") or ()
        return next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")

    await world.until(lambda: refusal("second") and refusal("blind"))
    assert refusal("second").startswith("0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    assert refusal("blind").startswith(
        "0/3 nodes are available: 1 node(s) had untolerated taint {gpu: yes}, 2 Insufficient nvidia.com/gpu."
    )


async def test_a_cordoned_node_keeps_its_pods_and_gets_no_more(start: Starter) -> None:
    world = await start(nodes=plans_for(2, described=()))
    registry = world.cluster.registry
    world.deploy(deployment("web", replicas=2))
    await world.until_available("web", replicas=2)
    assert {p["spec"]["nodeName"] for p in world.pods()} == {"local", "local-2"}
    node = registry.get(NODES, None, "local")
    registry.update(NODES, {**node, "spec": {**node["spec"], "unschedulable": True}})
    await world.until(lambda: registry.get(NODES, None, "local")["spec"].get("taints"))
    world.run(pod("late", container(SLEEP)))
    await world.until_ready("late")
    assert node_of(world, "late") == "local-2"
    assert len([p for p in world.pods() if p["spec"]["nodeName"] == "local"]) == 1


async def test_pods_of_a_lost_node_move_and_those_it_had_end_when_it_is_back(start: Starter) -> None:
    world = await start(nodes=plans_for(2, described=()), node_grace=1.0)
    registry = world.cluster.registry
    body = deployment("web", replicas=2)
    patience = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1}
        for key in ("unreachable", "not-ready")
    ]
    body["spec"]["template"]["spec"]["tolerations"] = patience
    world.deploy(body)
    address = world.expose(service("web"))["spec"]["clusterIP"]
    await world.until_available("web", replicas=2)
    await world.until(lambda: len(ready_addresses(world, "web")) == 2)
    lost = next(p for p in world.pods() if p["spec"]["nodeName"] == "local-2")
    await world.cluster.kubelet.lose("local-2")
    assert len(processes_of(world)) == 1

    def ready(name: str) -> str:
        conditions = registry.get(NODES, None, name)["status"]["conditions"]
        return str(next(c["status"] for c in conditions if c["type"] == "Ready"))

    await world.until(lambda: ready("local-2") == "Unknown")
    await world.until(lambda: lost["status"]["podIP"] not in ready_addresses(world, "web"))
    await world.until(lambda: len(ready_addresses(world, "web")) == 2)
    assert {await http_get(address, 80) for _ in range(4)} == {"1"}
    assert "deletionTimestamp" in registry.get(PODS, "default", lost["metadata"]["name"])["metadata"]
    assert ready("local") == "True"

    await world.cluster.kubelet.bring_back("local-2")
    await world.until(lambda: world.find(lost["metadata"]["name"]) is None)
    await world.until(
        lambda: ready("local-2") == "True" and not registry.get(NODES, None, "local-2")["spec"].get("taints")
    )
    assert len(world.pods()) == 2


async def test_a_node_that_was_given_up_while_the_machine_slept_is_ready_again_and_so_are_its_pods(
    start: Starter,
) -> None:
    world = await start(node_grace=2.0)
    registry = world.cluster.registry
    world.deploy(deployment("web", replicas=1))
    world.expose(service("web"))
    await world.until(lambda: len(ready_addresses(world, "web")) == 1)
    (before,) = world.pods()
    pod, long_ago = before["metadata"]["name"], "2026-11-21T00:00:00.000000Z"

    def is_given_up() -> bool:
        lease = registry.get(LEASES, "kube-node-lease", "local")
        if lease["spec"]["renewTime"] != long_ago:  # also if a heartbeat came before anybody looked
            registry.update(LEASES, {**lease, "spec": {**lease["spec"], "renewTime": long_ago}})
        return "NodeNotReady" in world.reasons("local") & world.reasons(pod)

    await world.until(is_given_up)

    def is_ready() -> bool:
        node = registry.get(NODES, None, "local")
        return not node["spec"].get("taints") and all(c["status"] != "Unknown" for c in node["status"]["conditions"])

    await world.until(lambda: is_ready() and len(ready_addresses(world, "web")) == 1)
    assert [pod["metadata"]["uid"] for pod in world.pods()] == [before["metadata"]["uid"]]
