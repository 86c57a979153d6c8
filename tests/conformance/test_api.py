"""Reading and writing objects, and how an API server says no."""

import json

import pytest

from tests.conformance.conftest import Cluster
from tests.conformance.world import JSON_PATCH, STRATEGIC, TABLE, Caller, Place, config, names


def test_discovery_names_what_slipway_uses(cluster: Cluster) -> None:
    groups = {group["name"] for group in cluster.admin.get("/apis")["groups"]}
    assert groups >= {
        "apps",
        "apiextensions.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
    }
    core = {each["name"]: each for each in cluster.admin.get("/api/v1")["resources"]}
    assert core["pods"]["namespaced"]
    assert "po" in core["pods"]["shortNames"]
    assert not core["nodes"]["namespaced"]
    assert {"pods/log", "pods/status", "pods/eviction", "pods/proxy", "services/proxy"} <= set(core)
    apps = {each["name"]: each for each in cluster.admin.get("/apis/apps/v1")["resources"]}
    assert apps["deployments/scale"]["kind"] == "Scale"


def test_discovery_in_one_document_says_the_same(cluster: Cluster) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    found = cluster.admin.ask("GET", "/apis", accept=accept).body
    assert found["kind"] == "APIGroupDiscoveryList"
    apps = next(item for item in found["items"] if item["metadata"]["name"] == "apps")
    kinds = {each["resource"]: each["responseKind"]["kind"] for each in apps["versions"][0]["resources"]}
    assert kinds["deployments"] == "Deployment"


def test_openapi_v3_describes_each_group_in_a_document_of_its_own(cluster: Cluster) -> None:
    listed = cluster.admin.ask("GET", "/openapi/v3")
    assert listed.headers["Content-Type"].startswith("text/plain")  # it is JSON, and not called so
    paths = json.loads(listed.body)["paths"]
    assert {"api/v1", "apis/apps/v1"} <= set(paths)
    document = cluster.admin.get(paths["apis/apps/v1"]["serverRelativeURL"].partition("?")[0])
    kinds = [
        each["kind"]
        for schema in document["components"]["schemas"].values()
        for each in schema.get("x-kubernetes-group-version-kind", ())
    ]
    assert "Deployment" in kinds
    assert "patch" in document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]


def test_a_made_object_has_an_identity_and_comes_back_as_it_was_made(place: Place) -> None:
    made = place.caller.create(place.path("configmaps"), config("one", a="b"))
    metadata = made["metadata"]
    assert made["data"] == {"a": "b"}
    assert (metadata["namespace"], metadata["name"]) == (place.name, "one")
    assert metadata["uid"]
    assert metadata["resourceVersion"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert place.caller.get(place.path("configmaps", "one")) == made


def test_a_generated_name_begins_as_told_and_is_new_each_time(place: Place) -> None:
    body = {"metadata": {"generateName": "job-"}}
    made = {place.caller.create(place.path("configmaps"), body)["metadata"]["name"] for _ in range(3)}
    assert len(made) == 3
    assert all(name.startswith("job-") and len(name) == 9 for name in made)


def test_what_is_not_there_is_a_status_with_code_404(place: Place) -> None:
    found = place.caller.ask("GET", place.path("apps/v1/deployments", "web"))
    assert found.code == 404
    assert found.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'deployments.apps "web" not found',
        "reason": "NotFound",
        "details": {"name": "web", "group": "apps", "kind": "deployments"},
        "code": 404,
    }


def test_a_path_nobody_serves_is_not_found_either(cluster: Cluster) -> None:
    found = cluster.admin.ask("GET", "/apis/example.org/v1/ships")
    assert found.code == 404
    unknown = cluster.admin.ask("GET", "/api/v1/ships")
    assert unknown.code == 404


def test_making_the_same_twice_is_409_already_exists(place: Place) -> None:
    place.caller.create(place.path("configmaps"), config("one"))
    again = place.caller.ask("POST", place.path("configmaps"), config("one"))
    assert (again.code, again.body["reason"]) == (409, "AlreadyExists")
    assert again.message == 'configmaps "one" already exists'


def test_making_something_in_a_namespace_that_is_not_there_is_404(cluster: Cluster) -> None:
    found = cluster.admin.ask("POST", "/api/v1/namespaces/slipway-not-there/configmaps", config("one"))
    assert found.code == 404
    assert found.message == 'namespaces "slipway-not-there" not found'


def test_a_stale_resource_version_is_409_conflict(place: Place) -> None:
    path = place.path("configmaps", "one")
    old = place.caller.create(place.path("configmaps"), config("one", a="1"))
    place.caller.update(path, {**old, "data": {"a": "2"}})
    late = place.caller.ask("PUT", path, {**old, "data": {"a": "3"}})
    assert (late.code, late.body["reason"]) == (409, "Conflict")
    assert late.message == (
        'Operation cannot be fulfilled on configmaps "one": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert place.caller.get(path)["data"] == {"a": "2"}


def test_a_deletion_can_insist_on_the_very_object(place: Place) -> None:
    made = place.caller.create(place.path("configmaps"), config("one"))
    path = place.path("configmaps", "one")
    wrong = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "another"}}
    assert place.caller.ask("DELETE", path, wrong).code == 409
    right = {**wrong, "preconditions": {"uid": made["metadata"]["uid"]}}
    assert place.caller.delete(path, right)["status"] == "Success"
    place.caller.until_gone(path)


def test_a_dry_run_answers_as_if_and_changes_nothing(place: Place) -> None:
    path = place.path("configmaps")
    made = place.caller.create(path, config("one", a="b"), dryRun="All")
    assert made["metadata"]["uid"]
    assert place.caller.ask("GET", f"{path}/one").code == 404
    place.caller.create(path, config("two", a="b"))
    assert place.caller.patch(f"{path}/two", {"data": {"a": "c"}}, dryRun="All")["data"] == {"a": "c"}
    place.caller.delete(f"{path}/two", dryRun="All")
    assert place.caller.get(f"{path}/two")["data"] == {"a": "b"}


def test_a_change_that_changes_nothing_makes_no_new_version(place: Place) -> None:
    made = place.caller.create(place.path("configmaps"), config("one", a="b"))
    same = place.caller.patch(place.path("configmaps", "one"), {"data": {"a": "b"}})
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_the_generation_counts_changes_of_what_is_wanted_only(place: Place) -> None:
    path = place.path("apps/v1/deployments", "web")
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=0))
    assert place.caller.patch(path, {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert place.caller.patch(path, {"spec": {"minReadySeconds": 1}})["metadata"]["generation"] == 2


@pytest.mark.parametrize("mode", ["Strict", "Warn", "Ignore"])
def test_an_unknown_field_is_refused_warned_of_or_dropped(place: Place, mode: str) -> None:
    body = place.deployment("web", replicas=0) | {"colour": "blue"}
    body["spec"]["replicaz"] = 3
    found = place.caller.ask("POST", place.path("apps/v1/deployments"), body, query={"fieldValidation": mode})
    if mode == "Strict":
        assert found.code == 400
        assert 'unknown field "spec.replicaz"' in found.message
        assert "strict decoding error" in found.message
        return
    assert found.code == 201
    assert "replicaz" not in found.body["spec"]
    warned = found.headers.get("Warning", "")
    assert ('unknown field \\"spec.replicaz\\"' in warned) is (mode == "Warn")


def test_an_invalid_object_is_422_and_says_which_field_and_why(place: Place) -> None:
    body = place.deployment("web", replicas=-1)
    body["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    found = place.caller.ask("POST", place.path("apps/v1/deployments"), body)
    assert (found.code, found.body["reason"]) == (422, "Invalid")
    assert found.message.startswith('Deployment.apps "web" is invalid: [')
    causes = {(cause["field"], cause["reason"]) for cause in found.body["details"]["causes"]}
    assert causes == {("spec.replicas", "FieldValueInvalid"), ("spec.template.metadata.labels", "FieldValueInvalid")}
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in found.message


def test_a_field_that_is_fixed_cannot_be_changed(place: Place) -> None:
    made = place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=0))
    made["metadata"].pop("resourceVersion")
    made["spec"]["selector"]["matchLabels"]["x"] = "y"
    made["spec"]["template"]["metadata"]["labels"]["x"] = "y"
    found = place.caller.ask("PUT", place.path("apps/v1/deployments", "web"), made)
    assert found.code == 422
    assert "spec.selector" in found.message
    assert "field is immutable" in found.message


def test_a_body_that_is_no_json_is_400(place: Place) -> None:
    found = place.caller.ask("POST", place.path("configmaps"), "not an object")
    assert (found.code, found.body["reason"]) == (400, "BadRequest")


def test_a_name_that_is_no_name_is_422(place: Place) -> None:
    found = place.caller.ask("POST", place.path("configmaps"), config("Not_A_Name"))
    assert found.code == 422
    assert 'metadata.name: Invalid value: "Not_A_Name": a lowercase RFC 1123 subdomain' in found.message


def test_labels_select(place: Place) -> None:
    path = place.path("configmaps")
    for name, labels in (("a", {"tier": "web"}), ("b", {"tier": "db", "old": "yes"}), ("c", {"old": "no"})):
        place.caller.create(path, config(name, labels=labels))
    mine = "kubernetes.io/metadata.name!=x"

    def chosen(selector: str) -> list[str]:
        return [name for name in names(place.caller.get(path, labelSelector=selector)) if len(name) == 1]

    assert chosen("tier=web") == ["a"]
    assert chosen("tier in (web, db)") == ["a", "b"]
    assert chosen("tier notin (web)") == ["b", "c"]
    assert chosen("tier,!old") == ["a"]
    assert chosen("old!=yes") == ["a", "c"]
    assert chosen(mine) == ["a", "b", "c"]
    assert place.caller.ask("GET", path, query={"labelSelector": "tier in web"}).code == 400


def test_fields_select_where_a_kind_knows_them(place: Place) -> None:
    path = place.path("configmaps")
    for name in ("a", "b"):
        place.caller.create(path, config(name))
    assert names(place.caller.get(path, fieldSelector="metadata.name=b")) == ["b"]
    found = place.caller.ask("GET", path, query={"fieldSelector": "data.a=b"})
    known = 'only "metadata.name", "metadata.namespace"'
    assert (found.code, found.message) == (400, f'"data.a" is not a known field selector: {known}')
    found = place.caller.ask("GET", place.path("pods"), query={"fieldSelector": "data.a=b"})
    assert (found.code, found.message) == (400, "field label not supported: data.a")


def test_a_list_comes_in_pages(place: Place) -> None:
    path = place.path("secrets")
    for number in range(5):
        place.caller.create(path, {"metadata": {"name": f"s-{number}"}})
    first = place.caller.get(path, limit=2)
    assert names(first) == ["s-0", "s-1"]
    assert first["metadata"]["remainingItemCount"] == 3
    place.caller.create(path, {"metadata": {"name": "s-00"}})
    second = place.caller.get(path, limit=2, **{"continue": first["metadata"]["continue"]})
    assert names(second) == ["s-2", "s-3"]
    last = place.caller.get(path, limit=2, **{"continue": second["metadata"]["continue"]})
    assert names(last) == ["s-4"]
    assert not last["metadata"].get("continue")


def test_a_whole_collection_is_deleted_by_its_labels(place: Place) -> None:
    path = place.path("configmaps")
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red")):
        place.caller.create(path, config(name, labels={"colour": colour}))
    place.caller.delete(path, labelSelector="colour=red")
    found = names(place.caller.get(path, labelSelector="colour"))
    assert found == ["b"]


def test_patches_of_each_kind_do_what_they_are_for(place: Place) -> None:
    caller, path = place.caller, place.path("apps/v1/deployments", "web")
    caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=0))
    caller.patch(path, {"metadata": {"labels": {"a": "1", "b": "2"}}})
    assert caller.patch(path, {"metadata": {"labels": {"a": None}}})["metadata"]["labels"] == {"b": "2"}
    named = [{"name": "main", "env": [{"name": "A", "value": "1"}]}, {"name": "side", "image": place.image}]
    merged = caller.patch(path, {"spec": {"template": {"spec": {"containers": named}}}}, kind=STRATEGIC)
    found = {each["name"]: each for each in merged["spec"]["template"]["spec"]["containers"]}
    assert set(found) == {"main", "side"}
    assert found["main"]["image"] == place.image
    assert found["main"]["env"] == [{"name": "A", "value": "1"}]
    steps = [{"op": "test", "path": "/spec/replicas", "value": 0}, {"op": "remove", "path": "/metadata/labels/b"}]
    assert "labels" not in caller.patch(path, steps, kind=JSON_PATCH)["metadata"]
    assert caller.ask("PATCH", path, [{"op": "remove", "path": "/spec/nothing"}], kind=JSON_PATCH).code == 422
    assert caller.ask("PATCH", path, {}, kind="application/json").code == 415


def test_a_table_has_the_usual_columns(place: Place) -> None:
    place.caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=0))
    found = place.caller.ask("GET", place.path("apps/v1/deployments"), accept=TABLE).body
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    shown = [column["name"] for column in found["columnDefinitions"] if column["priority"] == 0]
    assert shown == ["Name", "Ready", "Up-to-date", "Available", "Age"]
    (row,) = found["rows"]
    assert row["cells"][:2] == ["web", "0/0"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_scale_is_seen_and_changed_without_knowing_the_kind(place: Place) -> None:
    caller, path = place.caller, place.path("apps/v1/deployments", "web/scale")
    caller.create(place.path("apps/v1/deployments"), place.deployment("web", replicas=0))
    scale = caller.get(path)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"].get("replicas", 0) == 0
    assert scale["status"]["selector"] == "app=web"
    changed = caller.patch(path, {"spec": {"replicas": 1}})
    assert changed["spec"] == {"replicas": 1}
    assert caller.get(place.path("apps/v1/deployments", "web"))["spec"]["replicas"] == 1
    stale = caller.ask("PUT", path, scale)
    assert stale.code == 409


def test_yaml_is_read_and_a_secret_takes_plain_text(place: Place) -> None:
    made = place.caller.create(place.path("secrets"), {"metadata": {"name": "s"}, "stringData": {"key": "word"}})
    assert made["data"] == {"key": "d29yZA=="}
    assert "stringData" not in made
    assert made["type"] == "Opaque"


def test_what_is_only_stored_here_is_stored_and_checked(place: Place) -> None:
    """Kinds a cluster acts on by programs that need not run: they are kept, with their defaults, and validated."""
    caller: Caller = place.caller
    policy = {"metadata": {"name": "p"}, "spec": {"podSelector": {}, "ingress": []}}
    made = caller.create(place.path("networking.k8s.io/v1/networkpolicies"), policy)
    assert made["spec"]["policyTypes"] == ["Ingress"]
    budget = {"metadata": {"name": "b"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    assert caller.create(place.path("policy/v1/poddisruptionbudgets"), budget)["spec"]["maxUnavailable"] == 1
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 3}}
    made = caller.create(place.path("autoscaling/v2/horizontalpodautoscalers"), scaler)
    assert made["spec"]["minReplicas"] == 1
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    made = caller.create(
        place.path("networking.k8s.io/v1/ingresses"), {"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}}
    )
    assert made["spec"]["defaultBackend"] == backend
