"""Where a pod fits, and the sentence when it fits nowhere."""

from decimal import Decimal
from typing import Any

import pytest

from clusters.embedded.affinity import Placed
from clusters.embedded.scheduler import NodeView, failure_message, fit, roomiest


def view(
    *,
    used: dict[str, Decimal] | None = None,
    pods: int = 0,
    name: str = "local",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> NodeView:
    node = {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux", **(labels or {})}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}},
    }
    return NodeView(node, used or {}, pods)


def pod(requests: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"requests": requests or {}}}
    return {"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}


GPU = {"nvidia.com/gpu": "1"}
TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("given", "node", "reasons"),
    [
        (pod({"cpu": "2"}), view(), []),
        (pod({"cpu": "2001m"}), view(), ["Insufficient cpu"]),
        (pod({"cpu": "1"}), view(used={"cpu": Decimal("1.5")}), ["Insufficient cpu"]),
        (pod({"memory": "2Gi", **GPU}), view(), ["Insufficient memory", "Insufficient nvidia.com/gpu"]),
        (pod(), view(pods=3), ["Too many pods"]),
        (pod(nodeSelector={"disk": "ssd"}), view(), ["node(s) didn't match Pod's node affinity/selector"]),
        (pod(), view(taints=[TAINT]), ["node(s) had untolerated taint {gpu: yes}"]),
        (pod(tolerations=[{"key": "gpu", "operator": "Exists"}]), view(taints=[TAINT]), []),
        (pod(), view(unschedulable=True), ["node(s) were unschedulable"]),
    ],
)
def test_a_pod_fits_or_says_what_is_lacking(given: Any, node: NodeView, reasons: list[str]) -> None:
    assert fit(given, view=node) == reasons


def test_a_limit_without_a_request_and_the_greediest_init_container_count() -> None:
    body = pod()
    body["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    body["spec"]["initContainers"] = [{"name": "i", "resources": {"requests": {"cpu": "3"}}}]
    assert fit(body, view=view()) == ["Insufficient cpu"]


def test_the_roomiest_of_the_nodes_that_fit_is_taken() -> None:
    busy, free = view(used={"cpu": Decimal(1)}), view(name="free")
    assert roomiest([busy, free]).name == "free"


def test_anti_affinity_keeps_pods_of_one_label_on_different_nodes() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
    rules = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    body = {**pod(affinity=rules), "metadata": {"name": "p", "namespace": "x", "labels": {"app": "web"}}}
    here = view(labels={"zone": "a"})
    other = {"metadata": {"namespace": "x", "labels": {"app": "web"}}}
    assert fit(body, view=here, placed=[Placed(other, {"zone": "a"})]) == [
        "node(s) didn't match pod anti-affinity rules"
    ]
    assert fit(body, view=here, placed=[Placed(other, {"zone": "b"})]) == []


def test_affinity_lets_the_first_pod_of_its_kind_in_anywhere() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
    rules = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    body = {**pod(affinity=rules), "metadata": {"name": "p", "namespace": "x", "labels": {"app": "web"}}}
    here = view(labels={"zone": "a"})
    assert fit(body, view=here) == []
    other = {"metadata": {"namespace": "x", "labels": {"app": "web"}}}
    assert fit(body, view=here, placed=[Placed(other, {"zone": "b"})]) == ["node(s) didn't match pod affinity rules"]


def test_the_sentence_for_several_nodes_counts_reasons_and_who_could_make_room() -> None:
    taint = "node(s) had untolerated taint {gpu: yes}"
    assert failure_message([["Insufficient cpu", "Insufficient memory"], [taint], ["Insufficient cpu"]]) == (
        "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {gpu: yes}, "
        "2 Insufficient cpu. preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )


def test_the_sentence_is_a_schedulers() -> None:
    assert failure_message([["Insufficient cpu"]]) == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )
