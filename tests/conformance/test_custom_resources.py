"""CustomResourceDefinitions: schemas that default, prune and refuse; columns; status and scale."""

import copy
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Cluster, Kubectl
from tests.conformance.world import TABLE, Obj, Place, names

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
pytestmark = [
    pytest.mark.needs("create", "customresourcedefinitions.apiextensions.k8s.io"),
    pytest.mark.needs("delete", "customresourcedefinitions.apiextensions.k8s.io"),
]
SCHEMA: Obj = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1, "maximum": 9},
                "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                "replicas": {"type": "integer"},
                "parts": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {
                            "name": {"type": "string", "pattern": "^[a-z]+$"},
                            "weight": {"type": "integer", "default": 1},
                        },
                    },
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                },
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {
            "type": "object",
            "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}},
        },
    },
}


def definition(group: str) -> Obj:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": SCHEMA},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
            {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
        ],
    }
    spec = {
        "group": group,
        "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"]},
        "versions": [version],
    }
    head = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return {**head, "metadata": {"name": f"boats.{group}"}, "spec": spec}


@pytest.fixture
def group(cluster: Cluster, place: Place) -> Iterator[str]:
    """An API group of the test's own that serves boats."""
    found = f"{place.name}.example.org"
    cluster.admin.create(DEFINITIONS, definition(found))

    def established(obj: Obj) -> bool:
        conditions = (obj.get("status") or {}).get("conditions") or ()
        return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)

    cluster.admin.until(f"{DEFINITIONS}/boats.{found}", established)
    cluster.admin.until(place.path(f"{found}/v1/boats"), bool)
    yield found
    cluster.admin.ask("DELETE", f"{DEFINITIONS}/boats.{found}")
    cluster.admin.until_gone(f"{DEFINITIONS}/boats.{found}")


def boat(group: str, name: str = "one", **spec: object) -> Obj:
    return {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": name}, "spec": {"size": 3, **spec}}


def test_a_definition_is_served_and_discovered(cluster: Cluster, group: str) -> None:
    assert group in {each["name"] for each in cluster.admin.get("/apis")["groups"]}
    found = {each["name"]: each for each in cluster.admin.get(f"/apis/{group}/v1")["resources"]}
    assert set(found) == {"boats", "boats/status", "boats/scale"}
    assert (found["boats"]["kind"], found["boats"]["shortNames"]) == ("Boat", ["bt"])


def test_defaults_are_filled_in_also_within_lists(place: Place, group: str) -> None:
    made = place.caller.create(place.path(f"{group}/v1/boats"), boat(group, parts=[{"name": "mast"}]))
    assert made["spec"]["colour"] == "red"
    assert made["spec"]["parts"] == [{"name": "mast", "weight": 1}]


def test_what_the_schema_does_not_know_is_pruned_unless_it_says_otherwise(place: Place, group: str) -> None:
    body = boat(group, sails=4, free={"anything": {"goes": True}})
    found = place.caller.ask("POST", place.path(f"{group}/v1/boats"), body, query={"fieldValidation": "Warn"})
    assert found.code == 201
    assert "sails" not in found.body["spec"]
    assert found.body["spec"]["free"] == {"anything": {"goes": True}}
    assert 'unknown field \\"spec.sails\\"' in found.headers["Warning"]
    strict = place.caller.ask("POST", place.path(f"{group}/v1/boats"), body, query={"fieldValidation": "Strict"})
    assert strict.code == 400


def test_what_breaks_the_schema_is_refused_with_the_fields_path(place: Place, group: str) -> None:
    body = boat(group, size=10, colour="green", parts=[{"name": "MAST"}])
    found = place.caller.ask("POST", place.path(f"{group}/v1/boats"), body)
    assert (found.code, found.body["reason"]) == (422, "Invalid")
    assert f'Boat.{group} "one" is invalid: ' in found.message
    causes = {cause["field"]: cause for cause in found.body["details"]["causes"]}
    assert set(causes) == {"spec.size", "spec.colour", "spec.parts[0].name"}
    assert "spec.size in body should be less than or equal to 9" in causes["spec.size"]["message"]
    assert 'Unsupported value: "green": supported values: "red", "blue"' in causes["spec.colour"]["message"]
    assert "spec.parts[0].name in body should match '^[a-z]+$'" in causes["spec.parts[0].name"]["message"]


def test_a_wrong_type_and_a_missing_field_are_named(place: Place, group: str) -> None:
    path = place.path(f"{group}/v1/boats")
    found = place.caller.ask("POST", path, boat(group, size="big"))
    assert found.code == 422
    assert 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"' in found.message
    without = {**boat(group), "spec": {}}
    found = place.caller.ask("POST", path, without)
    assert found.code == 422
    assert "spec.size: Required value" in found.message


def test_the_status_has_a_door_of_its_own(place: Place, group: str) -> None:
    caller, path = place.caller, place.path(f"{group}/v1/boats", "one")
    made = caller.create(place.path(f"{group}/v1/boats"), {**boat(group), "status": {"phase": "Sunk"}})
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    told = caller.patch(f"{path}/status", {"status": {"phase": "Afloat"}, "spec": {"size": 9}})
    assert told["status"] == {"phase": "Afloat"}
    assert told["spec"]["size"] == 3
    assert told["metadata"]["generation"] == 1
    changed = caller.patch(path, {"status": {"phase": "Sunk"}, "spec": {"size": 4}})
    assert changed["status"] == {"phase": "Afloat"}
    assert changed["metadata"]["generation"] == 2


def test_a_custom_kind_can_be_scaled(place: Place, group: str) -> None:
    path = place.path(f"{group}/v1/boats", "one")
    place.caller.create(place.path(f"{group}/v1/boats"), boat(group, replicas=2))
    scale = place.caller.get(f"{path}/scale")
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    place.caller.patch(f"{path}/scale", {"spec": {"replicas": 5}})
    assert place.caller.get(path)["spec"]["replicas"] == 5


def test_columns_are_the_definitions(place: Place, group: str) -> None:
    place.caller.create(place.path(f"{group}/v1/boats"), boat(group))
    place.caller.patch(place.path(f"{group}/v1/boats", "one/status"), {"status": {"phase": "Afloat"}})
    table = place.caller.ask("GET", place.path(f"{group}/v1/boats"), accept=TABLE).body
    shown = [(column["name"], column["priority"]) for column in table["columnDefinitions"]]
    assert shown[:4] == [("Name", 0), ("Size", 0), ("Phase", 0), ("Colour", 1)]
    assert table["rows"][0]["cells"][:4] == ["one", 3, "Afloat", "red"]


def test_lists_of_custom_kinds_merge_by_their_keys_when_applied(place: Place, group: str) -> None:
    path = place.path(f"{group}/v1/boats", "one")
    place.caller.apply(path, boat(group, parts=[{"name": "mast", "weight": 2}]), manager="alice")
    found = place.caller.apply(path, boat(group, parts=[{"name": "keel", "weight": 3}]), manager="bob")
    assert {each["name"] for each in found["spec"]["parts"]} == {"mast", "keel"}
    refused = place.caller.try_apply(path, boat(group, parts=[{"name": "mast", "weight": 5}]), manager="bob")
    assert refused.code == 409
    assert 'conflict with "alice": .spec.parts[name="mast"].weight' in refused.message


def test_kubectl_works_with_a_custom_kind_by_its_short_name(place: Place, group: str, kubectl: Kubectl) -> None:
    kubectl("apply", "-n", place.name, "--server-side", "-f", "-", text=boat(group))
    header, row = kubectl("get", f"bt.{group}", "-n", place.name).splitlines()
    assert header.split() == ["NAME", "SIZE", "PHASE"]
    assert row.split()[:2] == ["one", "3"]
    assert "one" in kubectl("describe", f"boats.{group}", "one", "-n", place.name)


def test_a_definition_takes_its_objects_along(cluster: Cluster, place: Place) -> None:
    group = f"gone-{place.name}.example.org"
    cluster.admin.create(DEFINITIONS, definition(group))
    path = place.path(f"{group}/v1/boats")
    cluster.admin.until(path, lambda found: found["kind"] == "BoatList")
    place.caller.create(path, boat(group))
    assert names(place.caller.get(path)) == ["one"]
    cluster.admin.delete(f"{DEFINITIONS}/boats.{group}")
    cluster.admin.until_gone(f"{DEFINITIONS}/boats.{group}")
    cluster.admin.until_gone(path)


def test_a_schema_without_structure_is_refused(cluster: Cluster, place: Place) -> None:
    group = f"bad-{place.name}.example.org"
    body = definition(group)
    body["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}
    found = cluster.admin.ask("POST", DEFINITIONS, body)
    assert found.code == 422
    path = "spec.validation.openAPIV3Schema.properties[spec].type"  # one schema for all versions
    assert f"{path}: Required value: must not be empty for specified object fields" in found.message


def test_a_list_by_a_key_that_may_be_missing_is_refused(cluster: Cluster, place: Place) -> None:
    group = f"loose-{place.name}.example.org"
    body = copy.deepcopy(definition(group))
    parts = body["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["parts"]
    del parts["items"]["required"]
    found = cluster.admin.ask("POST", DEFINITIONS, body)
    assert found.code == 422
    (cause,) = found.body["details"]["causes"]
    assert cause["field"].endswith("properties[spec].properties[parts].items.properties[name].default")
    assert "x-kubernetes-list-map-keys, so it must have a default or be a required property" in cause["message"]
