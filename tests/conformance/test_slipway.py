"""What Slipway itself puts into a cluster: taken without a warning, under the strictest rules, with no right too many.

Everything is the studio's own objects in a namespace of the test's own. What lies outside of namespaces is sent as a
dry run, so that a Slipway that is installed there is left alone.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from clusters.install import manifests, workloads
from clusters.install.settings import RouterSettings
from clusters.kube.kinds import kind_of
from deployments.manifests import Placement, deployment_objects
from deployments.specs import parse_deployment
from routerd import contract
from tests.conformance.conftest import RBAC, Cluster
from tests.conformance.world import Caller, Obj, Place

STUDIO = "11111111-2222-3333-4444-555555555555"
KEYS = manifests.Secrets(admin_token="a", upload_token="b", signing_key="c")
SAR = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


@pytest.fixture
def strict(cluster: Cluster) -> Iterator[Place]:
    """A namespace as Slipway makes them."""
    made = cluster.open_namespace(labels=manifests.namespace("x", studio=STUDIO)["metadata"]["labels"])
    yield made
    cluster.admin.ask("DELETE", f"/api/v1/namespaces/{made.name}")


def moved(obj: Obj, namespace: str) -> Obj:
    """The object, in another namespace than slipway-system."""
    found: Obj = json.loads(json.dumps(obj).replace(f'"{contract.SYSTEM_NAMESPACE}"', f'"{namespace}"'))
    return found


def deployed(place: Place, **more: Any) -> list[Obj]:
    """A deployment with a model, small enough for a quota."""
    amounts = {"cpu": "100m", "memory": "128Mi"}
    placement = Placement(
        studio=STUDIO,
        namespace=place.name,
        revision=1,
        image=place.image,
        slipway_image=place.image,
        download_token="none",
        model_digest="cd" * 32,
        requests=amounts,
        limits=amounts,
    )
    given = {
        "name": "blue",
        "endpoint_name": "iris",
        "environment": "light:1",
        "model": "iris:1",
        "code_configuration": {"scoring_script": "score.py"},
    }
    return deployment_objects(parse_deployment(given, code_digest="ab" * 32), placement=placement, **more)


def apply(caller: Caller, obj: Obj, **query: str) -> Obj:
    """As the studio does, but for the strictest validation; fails on a warning."""
    meta = obj["metadata"]
    path = kind_of(obj).path(meta["name"], namespace=meta.get("namespace"))
    found = caller.try_apply(path, obj, manager="slipway", force="true", fieldValidation="Strict", **query)
    assert found.code in (200, 201), found.body
    assert found.headers.get("Warning") is None
    made: Obj = found.body
    return made


def pod_of(workload: Obj) -> Obj:
    """A pod as its controller makes it."""
    template = workload["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "one", "namespace": workload["metadata"]["namespace"]},
        "spec": template["spec"],
    }


@pytest.mark.needs("create", "customresourcedefinitions.apiextensions.k8s.io")
def test_its_definitions_are_taken(cluster: Cluster) -> None:
    for definition in manifests.definitions(studio=STUDIO):
        apply(cluster.admin, definition, dryRun="All")


def test_its_namespaces_are_taken(cluster: Cluster) -> None:
    apply(cluster.admin, manifests.namespace("slipway-conformance-dry", studio=STUDIO), dryRun="All")


@pytest.mark.parametrize("storage", [True, False])
@pytest.mark.parametrize("service_type", ["LoadBalancer", "NodePort", "ClusterIP"])
def test_the_router_and_the_cache_are_taken_where_only_restricted_pods_are(
    cluster: Cluster, strict: Place, service_type: str, storage: bool
) -> None:
    settings = RouterSettings(image=strict.image, service_type=service_type, replicas=0, artifacts_gib=1)
    objects = [
        *workloads.router(settings, studio=STUDIO, address=""),
        *workloads.artifacts(settings, studio=STUDIO, storage=storage),
    ]
    for account in (contract.ROUTER, contract.ARTIFACTS):
        apply(cluster.admin, moved(manifests.service_account(account, studio=STUDIO, token=True), strict.name))
    for obj in objects:
        made = apply(cluster.admin, moved(obj, strict.name))
        again = apply(cluster.admin, moved(obj, strict.name))
        assert again["metadata"].get("generation") == made["metadata"].get("generation")
        if obj["kind"] == "Deployment":
            apply(cluster.admin, pod_of(moved(obj, strict.name)), dryRun="All")


def test_a_deployment_is_taken_where_only_restricted_pods_are_and_a_quota_counts(
    cluster: Cluster, strict: Place
) -> None:
    hard = {"pods": "2", "requests.cpu": "2", "limits.cpu": "2", "requests.memory": "2Gi", "limits.memory": "2Gi"}
    cluster.admin.create(strict.path("resourcequotas"), {"metadata": {"name": "small"}, "spec": {"hard": hard}})
    for obj in deployed(strict, replicas=0):
        made = apply(cluster.admin, obj)
        again = apply(cluster.admin, obj)
        assert again["metadata"].get("generation") == made["metadata"].get("generation")
        if obj["kind"] == "Deployment":
            apply(cluster.admin, pod_of(obj), dryRun="All")


def test_a_new_revision_leaves_the_count_to_the_router(cluster: Cluster, strict: Place) -> None:
    (workload,) = (each for each in deployed(strict, replicas=0) if each["kind"] == "Deployment")
    apply(cluster.admin, workload)
    meta = {key: workload["metadata"][key] for key in ("name", "namespace")}
    count = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 0}}
    path = strict.path("apps/v1/deployments", meta["name"])
    cluster.admin.apply(path, count, manager=contract.ROUTER_FIELD_MANAGER, force="true")
    (later,) = (each for each in deployed(strict, replicas=None) if each["kind"] == "Deployment")
    assert apply(cluster.admin, later)["spec"]["replicas"] == 0
    cluster.admin.patch(f"{path}/scale", {"spec": {"replicas": 0}}, fieldManager=contract.ROUTER_FIELD_MANAGER)
    owners = [
        each["manager"]
        for each in cluster.admin.get(path)["metadata"]["managedFields"]
        if "f:replicas" in each["fieldsV1"].get("f:spec", {})
    ]
    assert owners == [contract.ROUTER_FIELD_MANAGER]


# --- The router's rights ----------------------------------------------------------------------------

Asks = Callable[..., bool]


@pytest.fixture
def router_may(cluster: Cluster, strict: Place) -> Iterator[Asks]:
    """The router's account in `strict`, which is both its own namespace and one it serves; asks what it may."""
    role = f"{manifests.ROUTER_ROLE}-{strict.name}"
    for obj in manifests.rights(studio=STUDIO, targets=[strict.name]):
        text = json.dumps(moved(obj, strict.name)).replace(f'"{manifests.ROUTER_ROLE}"', f'"{role}"')
        apply(cluster.admin, json.loads(text))

    def ask(verb: str, resource: str, name: str = "", *, group: str = "", namespace: str = strict.name) -> bool:
        plural, _, subresource = resource.partition("/")
        wanted = {"verb": verb, "resource": plural, "subresource": subresource, "group": group}
        wanted |= {"namespace": namespace, "name": name}
        user = f"system:serviceaccount:{strict.name}:{contract.ROUTER}"
        spec = {"user": user, "groups": ["system:authenticated"], "resourceAttributes": wanted}
        return bool(cluster.admin.create(SAR, {"spec": spec})["status"]["allowed"])

    yield ask
    cluster.admin.delete(f"{RBAC}/clusterroles/{role}")


@pytest.mark.needs("create", "clusterroles.rbac.authorization.k8s.io")
def test_the_router_may_do_what_it_must(router_may: Asks) -> None:
    for verb in ("get", "list", "watch"):
        assert router_may(verb, "onlineendpoints", group=contract.GROUP)
        assert router_may(verb, "endpointslices", group="discovery.k8s.io")
        assert router_may(verb, "deployments", group="apps")
        assert router_may(verb, "configmaps", contract.TARGETS_CONFIGMAP)
        assert router_may(verb, "secrets", contract.TLS_SECRET)
    assert router_may("patch", "onlineendpoints/status", group=contract.GROUP)
    assert router_may("patch", "deployments/scale", group="apps")
    assert router_may("create", "leases", group="coordination.k8s.io")
    assert router_may("update", "leases", contract.LEADER_LEASE, group="coordination.k8s.io")


@pytest.mark.needs("create", "clusterroles.rbac.authorization.k8s.io")
def test_the_router_may_do_nothing_else(router_may: Asks) -> None:
    for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
        for resource in ("secrets", "configmaps", "pods", "pods/exec", "services", "serviceaccounts/token", "nodes"):
            assert not router_may(verb, resource), f"{verb} {resource}"
        assert not router_may(verb, "secrets", contract.ADMIN_SECRET)
        assert not router_may(verb, "leases", "another", group="coordination.k8s.io") or verb == "create"
        assert not router_may(verb, "onlineendpoints", group=contract.GROUP, namespace="default")
        assert not router_may(verb, "deployments", group="apps", namespace="default")
    for verb in ("create", "update", "patch", "delete"):
        assert not router_may(verb, "deployments", group="apps")
        assert not router_may(verb, "onlineendpoints", group=contract.GROUP)
        for resource in ("roles", "rolebindings", "clusterroles", "clusterrolebindings"):
            assert not router_may(verb, resource, group="rbac.authorization.k8s.io")
