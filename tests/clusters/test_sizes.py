"""What an instance type may say."""

from typing import Any

import pytest

from clusters.sizes import check_size, default_size, instance_type_object
from studio.errors import FieldErrors

GOOD: dict[str, Any] = {
    "name": "cpu-2",
    "requests": {"cpu": "1", "memory": "2Gi"},
    "limits": {"cpu": "2", "memory": "4Gi"},
}


def errors_of(**more: Any) -> dict[str, list[str]]:
    with pytest.raises(FieldErrors) as caught:
        check_size(**(GOOD | more))
    return caught.value.errors


def test_a_sensible_size_becomes_the_custom_resource_azure_users_know() -> None:
    size = check_size(**GOOD, node_selector={"pool": "gpu"}, tolerations=({"key": "gpu", "operator": "Exists"},))

    found = instance_type_object(size, studio="uuid")
    assert found["spec"] == {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
    }
    assert found["metadata"]["labels"]["slipway.dev/studio"] == "uuid"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"name": "Large"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"requests": {"memory": "2Gi"}}, "requests.cpu"),
        ({"limits": {"cpu": "2", "memory": ""}}, "limits.memory"),
        ({"requests": {"cpu": "0", "memory": "2Gi"}}, "requests.cpu"),
        ({"requests": {"cpu": "-1", "memory": "2Gi"}}, "requests.cpu"),
        ({"requests": {"cpu": "3", "memory": "2Gi"}}, "requests.cpu"),
        ({"requests": {"cpu": "1", "memory": "512m"}}, "requests.memory"),
        ({"requests": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}}, "requests.nvidia.com/gpu"),
        ({"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "0.5"}}, "limits.nvidia.com/gpu"),
        ({"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "0"}}, "limits.nvidia.com/gpu"),
        ({"limits": {"cpu": "2", "memory": "4Gi", "gpu": "1"}}, "limits.gpu"),
        ({"node_selector": {"pool gpu": "x"}}, "node_selector"),
        ({"tolerations": ({"key": "a", "operator": "Exists", "effect": "Never"},)}, "tolerations"),
        ({"tolerations": ({"operator": "Equal"},)}, "tolerations"),
    ],
)
def test_what_kubernetes_would_refuse_or_misread_is_told_at_its_field(given: dict[str, Any], path: str) -> None:
    assert list(errors_of(**given)) == [path]


def test_everything_wrong_is_told_at_once() -> None:
    assert set(errors_of(name="Large", requests={"cpu": "lots"})) == {"name", "requests.cpu", "requests.memory"}


def test_the_built_in_size_asks_for_less_where_replicas_are_processes() -> None:
    assert default_size("").requests == {"cpu": "100m", "memory": "2Gi"}
    assert default_size("process").requests == {"cpu": "100m", "memory": "256Mi"}
