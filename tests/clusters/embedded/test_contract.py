"""The project's own custom resources, on the embedded API server's schema machinery."""

from typing import Any

import pytest

from clusters.embedded import errors
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from clusters.embedded.store import Store
from routerd import contract


@pytest.fixture
def registry() -> Registry:
    registry = Registry(Store(":memory:"))
    for definition in (contract.online_endpoint_crd(), contract.instance_type_crd()):
        registry.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    return registry


def served(registry: Registry, plural: str) -> Resource:
    resource = registry.catalog.find(contract.GROUP, version=contract.VERSION, plural=plural)
    assert resource is not None
    return resource


def endpoint(**deployment: Any) -> dict[str, Any]:
    scale = {"mode": "auto", "min": 1, "max": 3}
    made = {
        "name": "blue",
        "service": "churn--blue",
        "workload": "churn--blue",
        "maxConcurrentRequestsPerInstance": 1,
        "maxQueue": 10,
        "maxQueueWaitMs": 500,
        "requestTimeoutMs": 5000,
        "scale": scale,
        **deployment,
    }
    spec = {"auth": {"mode": "key"}, "traffic": {"blue": 100}, "deployments": [made]}
    return {"metadata": {"name": "churn"}, "spec": spec}


def test_an_endpoint_is_taken(registry: Registry) -> None:
    made = registry.create(served(registry, "onlineendpoints"), endpoint(), namespace="default")
    assert made["spec"]["deployments"][0]["scale"] == {"mode": "auto", "min": 1, "max": 3}
    assert made["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"maxQueue": -1}, "spec.deployments[0].maxQueue"),
        ({"requestTimeoutMs": 400_000}, "spec.deployments[0].requestTimeoutMs"),
        ({"scale": {"mode": "wild", "min": 1, "max": 2}}, "spec.deployments[0].scale.mode"),
        ({"scale": {"mode": "auto", "min": 1}}, "spec.deployments[0].scale.max"),
    ],
)
def test_a_broken_endpoint_is_refused_with_the_field(registry: Registry, change: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.Invalid) as refused:
        registry.create(served(registry, "onlineendpoints"), endpoint(**change), namespace="default")
    assert [cause["field"] for cause in (refused.value.details or {})["causes"]] == [field]


def test_quantities_of_an_instance_type_may_be_numbers_or_text(registry: Registry) -> None:
    resource = served(registry, "instancetypes")
    body = {"metadata": {"name": "small"}, "spec": {"resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}}
    assert registry.create(resource, body)["spec"]["resources"]["limits"] == {"cpu": 1, "memory": "1Gi"}
    body["metadata"] = {"name": "bad"}
    body["spec"] = {"resources": {"limits": {"cpu": [1]}}}
    with pytest.raises(errors.Invalid, match=r"spec\.resources\.limits\.cpu"):
        registry.create(resource, body)
