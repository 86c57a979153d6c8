"""ResourceQuota: counting, refusing, and how a workload tells of it."""

from decimal import Decimal
from typing import Any

import pytest

from clusters.embedded import quota
from clusters.embedded.errors import Forbidden
from clusters.embedded.resources import DEPLOYMENTS, EVENTS, PODS, RESOURCE_QUOTAS, SERVICES
from tests.clusters.embedded.conftest import World, container, deployment, pod, service


def limits(**hard: str) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": {"hard": {k.replace("_", "."): v for k, v in hard.items()}}}


def small(name: str, cpu: str = "500m") -> dict[str, Any]:
    return pod(name, container(["sleep", "1000"], resources={"requests": {"cpu": cpu}, "limits": {"memory": "64Mi"}}))


def test_a_pod_counts_by_requests_and_limits_and_an_ended_one_only_as_an_object() -> None:
    body = small("p")
    used = quota.usage(PODS, body)
    assert used["cpu"] == used["requests.cpu"] == Decimal("0.5")
    assert used["requests.memory"] == used["limits.memory"] == 64 * 2**20
    assert "limits.cpu" not in used
    assert quota.usage(PODS, {**body, "status": {"phase": "Succeeded"}}) == {"count/pods": 1}


def test_a_load_balancer_counts_as_service_balancer_and_node_ports() -> None:
    used = quota.usage(SERVICES, service("s", type="LoadBalancer"))
    assert used == {"count/services": 1, "services": 1, "services.loadbalancers": 1, "services.nodeports": 1}


def test_scopes_choose_the_pods() -> None:
    best_effort = {"metadata": {"name": "q"}, "spec": {"scopes": ["BestEffort"], "hard": {"pods": "1"}}}
    assert not quota.concerns(best_effort, PODS, small("p"))
    assert quota.concerns(best_effort, PODS, pod("p", container(["true"])))


async def test_what_is_too_much_is_refused_in_the_words_of_kubernetes(world: World) -> None:
    registry = world.cluster.registry
    registry.create(RESOURCE_QUOTAS, limits(requests_cpu="1", pods="5"), namespace="default")
    world.run(small("one"))
    with pytest.raises(Forbidden) as refused:
        world.run(small("two", cpu="600m"))
    assert refused.value.message == (
        'pods "two" is forbidden: exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=500m, '
        "limited: requests.cpu=1"
    )
    with pytest.raises(Forbidden, match=r"failed quota: q: must specify requests\.cpu for: main$"):
        world.run(pod("silent", container(["true"])))
    await world.until(lambda: used_of(world) == {"pods": "1", "requests.cpu": "500m"})
    registry.delete(PODS, "default", "one")
    await world.until(lambda: used_of(world) == {"pods": "0", "requests.cpu": "0"})


def used_of(world: World) -> dict[str, str]:
    status = world.cluster.registry.get(RESOURCE_QUOTAS, "default", "q").get("status") or {}
    return dict(status.get("used") or {})


async def test_a_deployment_says_that_the_quota_refuses_and_goes_on_when_there_is_room(world: World) -> None:
    registry = world.cluster.registry
    registry.create(RESOURCE_QUOTAS, limits(pods="1"), namespace="default")
    world.deploy(deployment("web", replicas=2))

    def failure() -> str:
        status = registry.get(DEPLOYMENTS, "default", "web").get("status") or {}
        return next((c["message"] for c in status.get("conditions") or () if c["type"] == "ReplicaFailure"), "")

    await world.until(failure)
    assert "exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1" in failure()
    told = [e["message"] for e in registry.list(EVENTS, "default") if e["reason"] == "FailedCreate"]
    assert told
    assert told[0].startswith("Error creating: pods ")
    current = registry.get(RESOURCE_QUOTAS, "default", "q")
    registry.update(RESOURCE_QUOTAS, {**current, "spec": {"hard": {"pods": "2"}}})
    await world.until_available("web", replicas=2)
    assert not failure()
