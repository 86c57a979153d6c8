"""What ends objects: finalizers, owners, namespaces that go away."""

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


def test_in_the_foreground_only_what_owns_something_waits_itself(place: Place) -> None:
    """root <- branch <- leaf, all held by a finalizer of ours, so that they can be seen going."""
    path = place.path("configmaps")
    root = place.caller.create(path, config("root"))
    branch = place.caller.create(
        path, with_metadata(config("branch"), finalizers=[FINALIZER], **owned_by(root, blockOwnerDeletion=True))
    )
    place.caller.create(
        path, with_metadata(config("leaf"), finalizers=[FINALIZER], **owned_by(branch, blockOwnerDeletion=True))
    )
    since = place.caller.get(path)["metadata"]["resourceVersion"]
    place.caller.delete(f"{path}/root", propagationPolicy="Foreground")
    leaf = place.caller.until(f"{path}/leaf", lambda each: "deletionTimestamp" in each["metadata"])
    assert leaf["metadata"]["finalizers"] == [FINALIZER]
    branch = place.caller.get(f"{path}/branch")
    assert sorted(branch["metadata"]["finalizers"]) == [FINALIZER, "foregroundDeletion"]
    assert place.caller.get(f"{path}/root")["metadata"]["finalizers"] == ["foregroundDeletion"]
    place.caller.patch(f"{path}/branch", {"metadata": {"finalizers": ["foregroundDeletion"]}})
    place.caller.patch(f"{path}/leaf", {"metadata": {"finalizers": None}})
    place.caller.until_gone(f"{path}/root")
    with place.caller.watch(path, resourceVersion=since) as events:
        ends: list[str] = []
        while len(ends) < 3:
            event = next(events)
            metadata = event["object"]["metadata"]
            if event["type"] == "DELETED":
                ends.append(metadata["name"])
            assert metadata["name"] != "leaf" or "foregroundDeletion" not in metadata.get("finalizers", ())
    assert ends == ["leaf", "branch", "root"]


def test_in_the_foreground_what_another_owner_holds_stays(place: Place) -> None:
    path = place.path("configmaps")
    going, staying = (place.caller.create(path, config(name)) for name in ("going", "staying"))
    both = [owned_by(owner, blockOwnerDeletion=True)["ownerReferences"][0] for owner in (going, staying)]
    place.caller.create(path, with_metadata(config("shared"), ownerReferences=both))
    place.caller.delete(f"{path}/going", propagationPolicy="Foreground")
    place.caller.until_gone(f"{path}/going")
    left = place.caller.get(f"{path}/shared")["metadata"]
    assert [reference["name"] for reference in left["ownerReferences"]] == ["staying"]
    assert "deletionTimestamp" not in left


def test_owners_in_a_circle_do_not_wait_for_each_other(place: Place) -> None:
    path = place.path("configmaps")
    one = place.caller.create(path, config("one"))
    two = place.caller.create(path, with_metadata(config("two"), **owned_by(one, blockOwnerDeletion=True)))
    place.caller.patch(f"{path}/one", {"metadata": owned_by(two, blockOwnerDeletion=True)})
    place.caller.delete(f"{path}/one", propagationPolicy="Foreground")
    place.caller.until_gone(f"{path}/one")
    place.caller.until_gone(f"{path}/two")


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


def test_a_namespace_that_cannot_go_says_what_is_left_and_what_holds_it(cluster: Cluster) -> None:
    place = cluster.open_namespace()
    own = f"/api/v1/namespaces/{place.name}"
    for name in ("one", "two"):
        place.caller.create(place.path("configmaps"), with_metadata(config(name), finalizers=[FINALIZER]))
    place.caller.create(place.path("secrets"), {"metadata": {"name": "s", "finalizers": ["example.org/other"]}})
    place.caller.delete(own)

    def told(namespace: Obj) -> dict[str, tuple[str, str, str]]:
        conditions = namespace["status"].get("conditions") or ()
        return {each["type"]: (each["status"], each["reason"], each["message"]) for each in conditions}

    content = "Some resources are remaining: configmaps. has 2 resource instances, secrets. has 1 resource instances"
    held = (
        "Some content in the namespace has finalizers remaining: "
        f"{FINALIZER} in 2 resource instances, example.org/other in 1 resource instances"
    )
    found = place.caller.until(own, lambda each: content in told(each).get("NamespaceContentRemaining", ()))
    assert told(found) == {
        "NamespaceDeletionDiscoveryFailure": ("False", "ResourcesDiscovered", "All resources successfully discovered"),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": (
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        "NamespaceContentRemaining": ("True", "SomeResourcesRemain", content),
        "NamespaceFinalizersRemaining": (
            "True",
            "SomeFinalizersRemain",
            held,
        ),
    }
    for path in (place.path("configmaps", "one"), place.path("configmaps", "two"), place.path("secrets", "s")):
        place.caller.patch(path, {"metadata": {"finalizers": None}})
    place.caller.until_gone(own)


def test_the_pods_of_a_namespace_go_before_what_they_may_need(cluster: Cluster) -> None:
    minor = cluster.admin.get("/version")["minor"]
    if int(minor.rstrip("+")) < 33:
        pytest.skip("needs Kubernetes 1.33: before it, everything went at once")
    place = cluster.open_namespace()
    place.caller.create(place.path("secrets"), {"metadata": {"name": "key"}})
    place.caller.create(place.path("pods"), with_metadata(place.pod("web"), finalizers=[FINALIZER]))
    place.until_ready("web")
    place.caller.delete(f"/api/v1/namespaces/{place.name}")
    place.until_phase("web", "Failed")  # ended, and still held
    own = f"/api/v1/namespaces/{place.name}"
    # Written once all that goes with the pods is deleted; of the pods it says nothing (kubernetes/kubernetes#138208).
    cluster.admin.until(own, lambda each: condition(each, "NamespaceContentRemaining"))
    assert "deletionTimestamp" not in place.caller.get(place.path("secrets", "key"))["metadata"]
    place.caller.patch(place.path("pods", "web"), {"metadata": {"finalizers": None}})
    place.caller.until_gone(own)


def test_the_namespaces_of_the_cluster_itself_stay(cluster: Cluster) -> None:
    found = cluster.admin.ask("DELETE", "/api/v1/namespaces/default")
    assert found.code == 403
    assert found.message == 'namespaces "default" is forbidden: this namespace may not be deleted'
