"""What bounds and ends objects: quotas, pod security, finalizers, owners, namespaces that go away."""

import pytest

from tests.conformance.conftest import Cluster
from tests.conformance.world import Obj, Place, condition, config

FINALIZER = "example.org/hold"


def owned_by(owner: Obj, **more: bool) -> Obj:
    reference = {key: owner[key] for key in ("apiVersion", "kind")} | {
        key: owner["metadata"][key] for key in ("name", "uid")
    }
    return {"ownerReferences": [{**reference, **more}]}


def with_metadata(body: Obj, **metadata: object) -> Obj:
    return {**body, "metadata": {**body["metadata"], **metadata}}


# --- Finalizers and owners --------------------------------------------------------------------------


def test_a_finalizer_holds_an_object_until_it_is_taken_away(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.create(place.path("configmaps"), with_metadata(config("one"), finalizers=[FINALIZER]))
    place.caller.delete(path)
    held = place.caller.get(path)
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["finalizers"] == [FINALIZER]
    refused = place.caller.ask(
        "PATCH",
        path,
        {"metadata": {"finalizers": [FINALIZER, "example.org/other"]}},
        kind="application/merge-patch+json",
    )
    assert refused.code == 422
    assert "no new finalizers can be added if the object is being deleted" in refused.message
    place.caller.patch(path, {"metadata": {"finalizers": None}})
    place.caller.until_gone(path)


def test_what_an_object_owned_goes_after_it(place: Place) -> None:
    owner = place.caller.create(place.path("configmaps"), config("owner"))
    place.caller.create(place.path("secrets"), {"metadata": {"name": "owned", **owned_by(owner)}})
    place.caller.delete(place.path("configmaps", "owner"))
    place.caller.until_gone(place.path("secrets", "owned"))


def test_in_the_foreground_the_owner_waits_for_what_it_owns(place: Place) -> None:
    owner = place.caller.create(place.path("configmaps"), config("owner"))
    held = {"name": "owned", "finalizers": [FINALIZER], **owned_by(owner, blockOwnerDeletion=True)}
    place.caller.create(place.path("secrets"), {"metadata": held})
    place.caller.delete(place.path("configmaps", "owner"), propagationPolicy="Foreground")
    owned = place.caller.until(place.path("secrets", "owned"), lambda each: "deletionTimestamp" in each["metadata"])
    assert FINALIZER in owned["metadata"]["finalizers"]
    waiting = place.caller.get(place.path("configmaps", "owner"))
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    place.caller.patch(place.path("secrets", "owned"), {"metadata": {"finalizers": None}})
    place.caller.until_gone(place.path("configmaps", "owner"))


def test_an_orphan_stays(place: Place) -> None:
    owner = place.caller.create(place.path("configmaps"), config("owner"))
    place.caller.create(place.path("secrets"), {"metadata": {"name": "owned", **owned_by(owner)}})
    place.caller.delete(place.path("configmaps", "owner"), propagationPolicy="Orphan")
    place.caller.until_gone(place.path("configmaps", "owner"))
    left = place.caller.get(place.path("secrets", "owned"))
    assert not left["metadata"].get("ownerReferences")


def test_a_deleted_deployment_takes_its_replica_sets_and_pods_along(place: Place) -> None:
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web"))
    place.until_available("web", replicas=1)
    place.caller.delete(place.path("apps/v1/deployments", "web"))
    place.caller.until(place.path("apps/v1/replicasets"), lambda found: not found["items"])
    place.caller.until(place.path("pods"), lambda found: not found["items"])


# --- Namespaces -------------------------------------------------------------------------------------


def test_a_namespace_begins_with_an_account_and_the_clusters_certificate(place: Place) -> None:
    assert place.caller.get(place.path("serviceaccounts", "default"))
    found = place.caller.until(place.path("configmaps", "kube-root-ca.crt"), bool)
    assert "BEGIN CERTIFICATE" in found["data"]["ca.crt"]
    own = place.caller.get(f"/api/v1/namespaces/{place.name}")
    assert own["metadata"]["labels"]["kubernetes.io/metadata.name"] == place.name
    assert own["status"]["phase"] == "Active"


def test_a_namespace_that_goes_takes_everything_and_lets_nothing_new_in(cluster: Cluster) -> None:
    place = cluster.open_namespace()
    own = f"/api/v1/namespaces/{place.name}"
    place.caller.create(place.path("configmaps"), with_metadata(config("held"), finalizers=[FINALIZER]))
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web"))
    place.until_available("web", replicas=1)
    place.caller.delete(own)
    assert place.caller.until(own, lambda each: each["status"]["phase"] == "Terminating")
    refused = place.caller.ask("POST", place.path("configmaps"), config("late"))
    assert (refused.code, refused.body["reason"]) == (403, "Forbidden")
    assert refused.message == (
        f'configmaps "late" is forbidden: unable to create new content in namespace {place.name} '
        "because it is being terminated"
    )
    place.caller.until(place.path("pods"), lambda found: not found["items"])
    place.caller.patch(place.path("configmaps", "held"), {"metadata": {"finalizers": None}})
    place.caller.until_gone(own)


def test_the_namespaces_of_the_cluster_itself_stay(cluster: Cluster) -> None:
    found = cluster.admin.ask("DELETE", "/api/v1/namespaces/default")
    assert found.code == 403
    assert found.message == 'namespaces "default" is forbidden: this namespace may not be deleted'


# --- Quotas -----------------------------------------------------------------------------------------


@pytest.fixture
def quota(place: Place) -> Place:
    """Two pods and half a core for each namespace."""
    hard = {"pods": "2", "requests.cpu": "500m", "configmaps": "3"}
    place.caller.create(place.path("resourcequotas"), {"metadata": {"name": "small"}, "spec": {"hard": hard}})
    place.caller.until(
        place.path("resourcequotas", "small"),
        lambda each: (each.get("status") or {}).get("hard", {}).get("pods") == "2",
    )
    return place


def cpu(amount: str) -> Obj:
    return {"resources": {"requests": {"cpu": amount}}}


def test_a_quota_counts_what_is_used(quota: Place) -> None:
    quota.run("one", **cpu("100m"))
    found = quota.caller.until(
        quota.path("resourcequotas", "small"), lambda each: each["status"].get("used", {}).get("pods") == "1"
    )
    assert found["status"]["used"]["requests.cpu"] == "100m"


def test_what_is_above_a_quota_is_refused_with_all_numbers(quota: Place) -> None:
    quota.run("one", **cpu("400m"))
    found = quota.caller.ask("POST", quota.path("pods"), quota.pod("two", **cpu("200m")))
    assert (found.code, found.body["reason"]) == (403, "Forbidden")
    assert found.message == (
        'pods "two" is forbidden: exceeded quota: small, requested: requests.cpu=200m, '
        "used: requests.cpu=400m, limited: requests.cpu=500m"
    )


def test_a_pod_that_does_not_say_what_it_needs_is_refused_under_a_quota(quota: Place) -> None:
    found = quota.caller.ask("POST", quota.path("pods"), quota.pod("one"))
    assert found.code == 403
    assert found.message == ('pods "one" is forbidden: failed quota: small: must specify requests.cpu for: main')


def test_a_replica_set_says_that_a_quota_stopped_it(quota: Place) -> None:
    body = quota.deployment("web", replicas=3, template=quota.template("web", **cpu("100m")))
    quota.caller.create(quota.path("apps/v1/deployments"), body)
    found = quota.caller.until(
        quota.path("apps/v1/replicasets"),
        lambda each: each["items"] and condition(each["items"][0], "ReplicaFailure") == "True",
    )
    (replica_set,) = found["items"]
    told = quota.until_event(replica_set["metadata"]["name"], "FailedCreate")
    assert "exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2" in told["message"]
    assert len(quota.pods("web")) == 2


# --- Pod security -----------------------------------------------------------------------------------


@pytest.fixture
def restricted(cluster: Cluster, place: Place) -> Place:
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.admin.patch(f"/api/v1/namespaces/{place.name}", {"metadata": {"labels": label}})
    return place


def test_a_restricted_namespace_takes_pods_that_keep_the_rules(restricted: Place) -> None:
    restricted.run("web")
    restricted.until_ready("web")


def test_a_restricted_namespace_refuses_others_and_lists_why(restricted: Place) -> None:
    container = {"name": "main", "image": restricted.image}
    body = {"metadata": {"name": "loose"}, "spec": {"containers": [container]}}
    found = restricted.caller.ask("POST", restricted.path("pods"), body)
    assert (found.code, found.body["reason"]) == (403, "Forbidden")
    assert found.message == (
        'pods "loose" is forbidden: violates PodSecurity "restricted:latest": '
        'allowPrivilegeEscalation != false (container "main" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "main" must set securityContext.capabilities.drop=["ALL"]), '
        'runAsNonRoot != true (pod or container "main" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod or container "main" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")'
    )


def test_a_template_that_breaks_the_rules_is_warned_of_and_its_pods_are_not_made(
    cluster: Cluster, restricted: Place
) -> None:
    label = {"pod-security.kubernetes.io/warn": "restricted"}
    cluster.admin.patch(f"/api/v1/namespaces/{restricted.name}", {"metadata": {"labels": label}})
    body = restricted.deployment("web")
    body["spec"]["template"]["spec"].pop("securityContext")
    made = restricted.caller.ask("POST", restricted.path("apps/v1/deployments"), body)
    assert made.code == 201
    assert "would violate PodSecurity" in made.headers["Warning"]
    found = restricted.caller.until(
        restricted.path("apps/v1/replicasets"),
        lambda each: each["items"] and condition(each["items"][0], "ReplicaFailure") == "True",
    )
    told = restricted.until_event(found["items"][0]["metadata"]["name"], "FailedCreate")
    assert 'violates PodSecurity "restricted:latest"' in told["message"]
    assert restricted.pods("web") == []


def test_a_baseline_namespace_refuses_the_host(cluster: Cluster, place: Place) -> None:
    label = {"pod-security.kubernetes.io/enforce": "baseline"}
    cluster.admin.patch(f"/api/v1/namespaces/{place.name}", {"metadata": {"labels": label}})
    found = place.caller.ask("POST", place.path("pods"), place.pod("web", spec={"hostNetwork": True}))
    assert found.code == 403
    assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in found.message
