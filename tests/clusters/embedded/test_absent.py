"""What the cluster does not have is refused with a Status that says so, and documented."""

import re
from pathlib import Path
from typing import Any

import pytest

from clusters.embedded.resources import (
    BUILT_IN,
    HORIZONTAL_POD_AUTOSCALERS,
    INGRESSES,
    LIMIT_RANGES,
    NETWORK_POLICIES,
    POD_DISRUPTION_BUDGETS,
    Obj,
    Resource,
)
from tests.clusters.embedded.conftest import World, container, pod
from tests.clusters.embedded.test_faults import Client, client  # noqa: F401 - a fixture

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "embedded.md").read_text()
POD = "/api/v1/namespaces/default/pods/web"


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/replicationcontrollers", 404),
        ("GET", "/apis/apps/v1/statefulsets", 404),
        ("GET", "/apis/apps/v1/daemonsets", 404),
        ("GET", "/apis/batch/v1/cronjobs", 404),
        ("GET", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", 404),
        ("GET", "/apis/apiregistration.k8s.io/v1/apiservices", 404),
        ("GET", "/apis/metrics.k8s.io/v1beta1/pods", 404),
        ("GET", "/apis/apps/v1beta1/deployments", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/status", 404),
        ("GET", "/logs", 404),
        ("GET", "/metrics", 404),
        ("POST", f"{POD}/exec?command=ls", 501),
        ("GET", f"{POD}/exec?command=ls", 501),
        ("POST", f"{POD}/attach", 501),
        ("POST", f"{POD}/portforward", 501),
        ("PUT", "/api/v1/namespaces/default/configmaps", 405),
        ("DELETE", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
    ],
)
async def test_what_is_not_there_is_a_status(client: Client, method: str, path: str, code: int) -> None:  # noqa: F811
    status, body = await client.ask(method, path)
    assert (status, body["kind"], body["apiVersion"], body["code"]) == (code, "Status", "v1", code)
    assert body["status"] == "Failure"
    assert body["message"]
    assert body["reason"] == {404: "NotFound", 405: "MethodNotAllowed", 501: "NotImplemented"}[code]


async def test_a_kind_of_job_that_it_cannot_run_is_refused_with_a_status(client: Client) -> None:  # noqa: F811
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "none"}]}}
    spec: dict[str, Any] = {"completionMode": "Indexed", "completions": 1, "template": template}
    job = {"metadata": {"name": "j"}, "spec": spec}
    status, body = await client.ask("POST", "/apis/batch/v1/namespaces/default/jobs", job)
    assert (status, body["reason"]) == (501, "NotImplemented")
    assert "Indexed" in body["message"]


def named(resource: Resource) -> bool:
    return re.search(rf"\b{resource.kind}(e?s)?\b", DOCUMENT.replace("Policies", "Policys")) is not None


@pytest.mark.parametrize("resource", BUILT_IN, ids=lambda each: each.qualified)
def test_the_documentation_says_how_far_each_kind_goes(resource: Resource) -> None:
    assert named(resource), f"docs/embedded.md does not name {resource.kind}"


@pytest.mark.parametrize(
    "kind",
    ["LimitRange", "HorizontalPodAutoscaler", "NetworkPolicy", "Ingress"],
)
def test_the_documentation_says_what_is_stored_and_not_acted_on(kind: str) -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("| ")]
    (row,) = [line for line in rows if re.search(rf"\b{kind}\b", line.split("|")[1])]
    assert row.split("|")[2].strip().startswith("stored")


async def test_nothing_follows_from_what_is_only_stored(world: World) -> None:
    """If one of these kinds begins to act, the documentation must change too."""
    registry = world.cluster.registry
    chosen = {"selector": {"matchLabels": {"app": "a"}}}
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    limits = [{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}}]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    stored: dict[Resource, Obj] = {
        LIMIT_RANGES: {"limits": limits},
        POD_DISRUPTION_BUDGETS: {**chosen, "minAvailable": 1},
        HORIZONTAL_POD_AUTOSCALERS: {"scaleTargetRef": target, "maxReplicas": 3},
        INGRESSES: {"defaultBackend": backend},
        NETWORK_POLICIES: {"podSelector": {}, "policyTypes": ["Egress"]},
    }
    made = {
        resource: registry.create(resource, {"metadata": {"name": "one"}, "spec": spec}, namespace="default")
        for resource, spec in stored.items()
    }
    world.run(pod("later", container(["sleep", "1000"])))
    later = await world.until_ready("later")
    assert later["spec"]["containers"][0]["resources"] == {}
    assert [each["metadata"]["name"] for each in world.pods()] == ["later"]
    assert {resource: registry.get(resource, "default", "one") for resource in made} == made
