"""What is refused although it is well-formed: quotas, pod security."""

import pytest

from tests.conformance.conftest import Cluster
from tests.conformance.world import Obj, Place, condition

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


def test_what_is_refused_again_and_again_is_tried_ever_later_and_told_in_few_events(quota: Place) -> None:
    body = quota.deployment("web", replicas=3, template=quota.template("web", **cpu("100m")))
    quota.caller.create(quota.path("apps/v1/deployments"), body)
    found = quota.caller.until(quota.path("apps/v1/replicasets"), lambda each: each["items"])
    name = found["items"][0]["metadata"]["name"]
    quota.until_event(name, "FailedCreate", says="(combined from similar events): Error creating: pods ")
    told = [event for event in quota.events(name) if event["reason"] == "FailedCreate"]
    assert len(told) <= 10
    tries = sum(event["count"] for event in told)
    quota.caller.patch(quota.path("resourcequotas", "small"), {"spec": {"hard": {"pods": "3"}}})
    quota.until_available("web", replicas=3)
    later = [event for event in quota.events(name) if event["reason"] == "FailedCreate"]
    assert len(later) == len(told)
    assert sum(event["count"] for event in later) <= tries + 4


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
