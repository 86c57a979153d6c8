"""Pod Security Standards in Kubernetes' words, and the way a namespace's labels have them enforced."""

import copy
import ssl
from typing import Any

import aiohttp
import pytest

from clusters.embedded.errors import Forbidden, Invalid
from clusters.embedded.podsecurity import findings
from clusters.embedded.resources import DEPLOYMENTS, NAMESPACES, PODS
from tests.clusters.embedded.conftest import World, container, deployment, pod

SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(name: str = "c", *, volumes: Any = (), pod: Any = None, ports: Any = (), **security: Any) -> dict[str, Any]:
    main = {"name": name, "ports": list(ports), "securityContext": {**copy.deepcopy(SAFE), **security}}
    return {"containers": [main], "volumes": list(volumes), **(pod or {})}


def test_what_is_safe_breaks_no_level() -> None:
    assert findings(spec(volumes=[{"name": "v", "emptyDir": {}}]), level="restricted") == []


def test_a_plain_pod_breaks_restricted_in_the_words_of_kubernetes() -> None:
    assert ", ".join(findings({"containers": [{"name": "c"}]}, level="restricted")) == (
        'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )
    assert findings({"containers": [{"name": "c"}]}, level="baseline") == []


HOST = [{"name": "h", "hostPath": {"path": "/etc"}}]


@pytest.mark.parametrize(
    ("given", "baseline", "restricted"),
    [
        (
            spec(volumes=HOST),
            'hostPath volumes (volume "h")',
            'restricted volume types (volume "h" uses restricted volume type "hostPath")',
        ),
        (
            spec(privileged=True),
            'privileged (container "c" must not set securityContext.privileged=true)',
            'privileged (container "c" must not set securityContext.privileged=true)',
        ),
        (
            spec(pod={"hostNetwork": True}),
            "host namespaces (hostNetwork=true)",
            "host namespaces (hostNetwork=true)",
        ),
        (
            spec(ports=[{"hostPort": 80}]),
            'hostPort (container "c" uses hostPort 80)',
            'hostPort (container "c" uses hostPort 80)',
        ),
        (
            spec(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
            'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
            (
                'unrestricted capabilities (container "c" must not include "SYS_ADMIN" in '
                "securityContext.capabilities.add)"
            ),
        ),
        (spec(runAsUser=0), "", 'runAsUser=0 (container "c" must not set runAsUser=0)'),
        (
            spec(runAsNonRoot=False),
            "",
            'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
        ),
        (spec(seccompProfile=None, pod={"securityContext": {"seccompProfile": {"type": "Localhost"}}}), "", ""),
        (
            spec(seccompProfile={"type": "Unconfined"}),
            'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
            'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
        ),
    ],
)
def test_each_rule_is_told(given: dict[str, Any], baseline: str, restricted: str) -> None:
    assert ", ".join(findings(given, level="baseline")) == baseline
    assert ", ".join(findings(given, level="restricted")) == restricted


async def test_a_label_refuses_pods_and_lets_a_workload_tell_why_it_has_none(world: World) -> None:
    registry = world.cluster.registry
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    registry.create(NAMESPACES, {"metadata": {"name": "strict", "labels": labels}})
    with pytest.raises(Forbidden, match=r'^pods "x" is forbidden: violates PodSecurity "restricted:latest": allow'):
        registry.create(PODS, pod("x", container(["true"])), namespace="strict")
    registry.create(DEPLOYMENTS, deployment("web"), namespace="strict")

    def failure() -> str:
        status = registry.get(DEPLOYMENTS, "strict", "web").get("status") or {}
        found = [c["message"] for c in status.get("conditions") or () if c["type"] == "ReplicaFailure"]
        return found[0] if found else ""

    await world.until(failure)
    assert 'violates PodSecurity "restricted:latest"' in failure()
    assert not registry.list(PODS, "strict")


async def test_a_level_there_is_not_is_refused(world: World) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "strict"}
    with pytest.raises(Invalid, match="must be one of privileged, baseline, restricted"):
        world.cluster.registry.create(NAMESPACES, {"metadata": {"name": "typo", "labels": labels}})


async def test_whoever_applies_a_workload_is_warned(world: World) -> None:
    labels = {"pod-security.kubernetes.io/warn": "baseline"}
    world.cluster.registry.create(NAMESPACES, {"metadata": {"name": "told", "labels": labels}})
    body = deployment("web", replicas=0)
    body["spec"]["template"]["spec"]["hostNetwork"] = True
    token = (world.cluster.data / "token").read_text().strip()
    trust = ssl.create_default_context(cafile=str(world.cluster.identity.authority))
    url = f"{world.cluster.url}/apis/apps/v1/namespaces/told/deployments"
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body, ssl=trust) as answer:
        assert answer.status == 201
        assert answer.headers.getall("Warning") == [
            '299 - "would violate PodSecurity \\"baseline:latest\\": host namespaces (hostNetwork=true)"'
        ]
