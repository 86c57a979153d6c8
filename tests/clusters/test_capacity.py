"""How many more fit: pure."""

from typing import Any

import pytest

from clusters.capacity import Node, from_json, how_many_fit, pod_request, read_nodes, to_json
from clusters.quantities import QuantityError, amount, in_words, parse_quantity
from clusters.sizes import Size, asked_for

GIB = 1 << 30


def size(**more: Any) -> Size:
    values: dict[str, Any] = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
    return Size(name="small", **(values | more))


def node(name: str = "a", **more: Any) -> Node:
    values: dict[str, Any] = {
        "ready": True,
        "allocatable": {"cpu": 4000, "memory": 8 * GIB, "pods": 110},
        "requested": {"cpu": 1000, "memory": GIB},
    }
    return Node(name=name, **(values | more))


@pytest.mark.parametrize(
    ("resource", "text", "value"),
    [
        ("cpu", "250m", 250),
        ("cpu", "2", 2000),
        ("cpu", "0.1", 100),
        ("cpu", "1n", 1),
        ("memory", "2Gi", 2 * GIB),
        ("memory", "1.5Gi", 3 * GIB // 2),
        ("memory", "1G", 10**9),
        ("memory", "128974848", 128974848),
        ("memory", "129e6", 129_000_000),
        ("nvidia.com/gpu", "2", 2),
    ],
)
def test_quantities_are_counted_in_whole_units_rounded_up(resource: str, text: str, value: int) -> None:
    assert amount(resource, text) == value


@pytest.mark.parametrize("text", ["", "lots", "1GiB", "1 Gi", "--1", "1e", "0x10", "1Ki2"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


def test_amounts_are_told_in_words() -> None:
    assert in_words("cpu", 1000) == "1 core"
    assert in_words("cpu", 4500) == "4.5 cores"
    assert in_words("memory", 2 * GIB) == "2 GiB"
    assert in_words("memory", 256 << 20) == "256 MiB"
    assert in_words("nvidia.com/gpu", 3) == "3 × nvidia.com/gpu"


def test_the_scarcest_resource_decides() -> None:
    fit = how_many_fit(size(), [node(), node("b", requested={"cpu": 0, "memory": 7 * GIB})])

    assert fit.by_node == {"a": 6, "b": 1}
    assert fit.count == 7


def test_nodes_that_take_nothing_are_named_with_the_reason() -> None:
    nodes = [
        node("down", ready=False),
        node("cordoned", cordoned=True),
        node("pressed", pressures=("Short of disk",)),
        node("tainted", taints=({"key": "gpu", "effect": "NoSchedule"},)),
        node("full", requested={"cpu": 4000, "memory": 0}),
    ]

    fit = how_many_fit(size(), nodes)

    assert fit.count == 0
    assert fit.why == ("None of 5 nodes has room: 2 taking no new pods, 1 not ready, 1 tainted, 1 short of cpu.")


def test_labels_tolerations_and_devices_count() -> None:
    gpu = node(
        "gpu",
        labels={"pool": "gpu"},
        taints=({"key": "dedicated", "value": "gpu", "effect": "NoSchedule"},),
        allocatable={"cpu": 48000, "memory": 384 * GIB, "nvidia.com/gpu": 4, "pods": 110},
        requested={"nvidia.com/gpu": 1},
    )
    wanted = size(
        limits={"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "2"},
        node_selector={"pool": "gpu"},
        tolerations=({"key": "dedicated", "operator": "Equal", "value": "gpu"},),
    )

    assert how_many_fit(wanted, [gpu, node()]).by_node == {"gpu": 1}


def test_the_number_of_pods_of_a_node_is_a_limit_too() -> None:
    crowded = node(allocatable={"cpu": 64000, "memory": 64 * GIB, "pods": 10}, pods=9)

    assert how_many_fit(size(), [crowded]).count == 1


def test_a_limit_without_a_request_is_asked_for() -> None:
    assert asked_for(size(requests={"cpu": "100m"})) == {"cpu": 100, "memory": 2 * GIB}


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


def test_a_pod_asks_for_its_containers_or_for_its_largest_step_before_them() -> None:
    small = {"spec": {"containers": [container("100m"), container("200m")], "initContainers": [container("50m")]}}
    large = {"spec": {"containers": [container("100m")], "initContainers": [container("2"), container("1")]}}
    staying = {
        "spec": {
            "containers": [container("100m")],
            "initContainers": [container("300m", restartPolicy="Always"), container("1")],
            "overhead": {"cpu": "10m"},
        }
    }

    assert pod_request(small) == {"cpu": 300}
    assert pod_request(large) == {"cpu": 2000}
    assert pod_request(staying) == {"cpu": 1310}


def test_finished_pods_and_pods_without_a_node_take_no_room() -> None:
    raw = {
        "metadata": {"name": "a", "labels": {"x": "y"}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }
    pods = [
        {"spec": {"nodeName": "a", "containers": [container("1")]}, "status": {"phase": "Running"}},
        {"spec": {"nodeName": "a", "containers": [container("1")]}, "status": {"phase": "Succeeded"}},
        {"spec": {"containers": [container("1")]}, "status": {"phase": "Pending"}},
    ]

    (found,) = read_nodes([raw], pods)

    assert found.requested == {"cpu": 1000}
    assert found.pods == 1
    assert found.pressures == ("Short of disk",)
    assert found.address == "10.0.0.1"
    assert not found.takes_pods
    assert from_json(to_json([found])) == (found,)
