"""Server-side apply: who owns what, and what follows from it."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from clusters.embedded import errors
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, SERVICES
from clusters.embedded.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
Obj = dict[str, Any]


@pytest.fixture
def registry() -> Registry:
    return Registry(Store(":memory:"), clock=lambda: NOON)


def web(**container: Any) -> Obj:
    labels = {"app": "web"}
    main = {"name": "main", "image": "web:1", **container}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [main]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }


def put(registry: Registry, obj: Obj, *, manager: str = "slipway", force: bool = False) -> Obj:
    name = obj["metadata"]["name"]
    new, _ = registry.apply(DEPLOYMENTS, "default", name, applied=obj, manager=manager, force=force)
    return new


def container(obj: Obj, name: str = "main") -> Obj:
    found: Obj = next(c for c in obj["spec"]["template"]["spec"]["containers"] if c["name"] == name)
    return found


def scale(registry: Registry, replicas: int, *, manager: str) -> None:
    def change(obj: Obj) -> Obj:
        obj["spec"]["replicas"] = replicas
        return obj

    registry.patch(DEPLOYMENTS, "default", "web", change=change, subresource="scale", manager=manager)


def test_applying_what_is_not_there_makes_it(registry: Registry) -> None:
    new, made = registry.apply(DEPLOYMENTS, "default", "web", applied=web(), manager="slipway")
    assert made
    (entry,) = new["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("slipway", "Apply")
    template = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert template == {'k:{"name":"main"}': {".": {}, "f:image": {}, "f:name": {}}}


def test_applying_the_same_again_changes_nothing(registry: Registry) -> None:
    first = put(registry, web())
    assert put(registry, web())["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_a_field_no_longer_applied_is_removed(registry: Registry) -> None:
    put(registry, web(env=[{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], workingDir="/srv"))
    after = put(registry, web(env=[{"name": "B", "value": "2"}]))
    assert container(after)["env"] == [{"name": "B", "value": "2"}]
    assert "workingDir" not in container(after)


def test_what_another_manager_added_stays(registry: Registry) -> None:
    put(registry, web(env=[{"name": "A", "value": "1"}]))
    theirs = web(env=[{"name": "THEIRS", "value": "x"}])
    theirs["spec"]["template"]["spec"]["containers"][0].pop("image")
    put(registry, theirs, manager="injector")
    after = put(registry, web())
    assert container(after)["env"] == [{"name": "THEIRS", "value": "x"}]


def test_lists_merge_by_their_keys_ports_by_port_and_protocol(registry: Registry) -> None:
    put(registry, web(ports=[{"containerPort": 80}]))
    ports = [{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 81}]
    theirs = web(ports=ports)
    after = put(registry, theirs, manager="other")
    found = [(p["containerPort"], p["protocol"]) for p in container(after)["ports"]]
    assert found == [(80, "TCP"), (80, "UDP"), (81, "TCP")]


def test_a_conflict_names_the_owner_and_the_field_and_changes_nothing(registry: Registry) -> None:
    put(registry, web())
    with pytest.raises(errors.Conflict) as refused:
        put(registry, web(image="web:2"), manager="kubectl")
    field = '.spec.template.spec.containers[name="main"].image'
    assert refused.value.message == f'Apply failed with 1 conflict: conflict with "slipway": {field}'
    (cause,) = (refused.value.details or {})["causes"]
    assert cause == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "slipway"',
        "field": field,
    }
    assert container(registry.get(DEPLOYMENTS, "default", "web"))["image"] == "web:1"


def test_force_takes_the_field_over(registry: Registry) -> None:
    put(registry, web())
    after = put(registry, web(image="web:2"), manager="kubectl", force=True)
    assert container(after)["image"] == "web:2"
    with pytest.raises(errors.Conflict, match='conflict with "kubectl"'):
        put(registry, web())


def test_equal_values_are_shared_and_stay_until_the_last_owner_lets_go(registry: Registry) -> None:
    put(registry, web(workingDir="/srv"))
    put(registry, web(workingDir="/srv"), manager="other")
    assert container(put(registry, web()))["workingDir"] == "/srv"
    assert "workingDir" not in container(put(registry, web(), manager="other"))


def test_replicas_given_to_a_scaler_stay_when_applies_leave_them_out(registry: Registry) -> None:
    with_replicas = web()
    with_replicas["spec"]["replicas"] = 2
    put(registry, with_replicas)
    scale(registry, 5, manager="routerd")
    after = put(registry, web())
    assert after["spec"]["replicas"] == 5
    scale(registry, 6, manager="routerd")
    assert put(registry, web(image="web:2"))["spec"]["replicas"] == 6


def test_applying_replicas_against_a_scaler_names_it_with_its_subresource(registry: Registry) -> None:
    put(registry, web())
    scale(registry, 5, manager="routerd")
    with_replicas = web()
    with_replicas["spec"]["replicas"] = 2
    words = 'conflict with "routerd" with subresource "scale" using apps/v1: .spec.replicas'
    with pytest.raises(errors.Conflict, match=words):
        put(registry, with_replicas)


def test_replicas_owned_by_nobody_else_fall_back_to_the_default(registry: Registry) -> None:
    with_replicas = web()
    with_replicas["spec"]["replicas"] = 4
    put(registry, with_replicas)
    assert put(registry, web())["spec"]["replicas"] == 1


def test_an_object_made_without_apply_belongs_to_its_maker(registry: Registry) -> None:
    registry.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}}, namespace="default", manager="tool")
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    wanted = {**head, "data": {"x": "2"}}
    with pytest.raises(errors.Conflict, match=r'conflict with "tool" using v1: \.data\.x'):
        registry.apply(CONFIG_MAPS, "default", "a", applied=wanted, manager="me")


def test_an_object_nobody_tracked_belongs_to_before_first_apply(registry: Registry) -> None:
    registry.create(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}}, namespace="default")
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    with pytest.raises(errors.Conflict, match="before-first-apply"):
        registry.apply(CONFIG_MAPS, "default", "a", applied={**head, "data": {"x": "2"}}, manager="me")
    new, _ = registry.apply(CONFIG_MAPS, "default", "a", applied={**head, "data": {"x": "1"}}, manager="me")
    assert new["data"] == {"x": "1"}


def test_a_removed_label_goes_and_the_empty_map_with_it(registry: Registry) -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    labelled = {**head, "metadata": {"name": "a", "labels": {"x": "y"}}}
    registry.apply(CONFIG_MAPS, "default", "a", applied=labelled, manager="me")
    plain = {**head, "metadata": {"name": "a"}}
    new, _ = registry.apply(CONFIG_MAPS, "default", "a", applied=plain, manager="me")
    assert "labels" not in new["metadata"]


def test_applied_lists_with_the_same_key_twice_are_refused(registry: Registry) -> None:
    twice = web(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])
    with pytest.raises(errors.BadRequest, match="same key"):
        put(registry, twice)


def test_a_set_of_finalizers_is_shared_item_by_item(registry: Registry) -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap"}
    for manager, name in (("one", "example.org/one"), ("two", "example.org/two")):
        applied = {**head, "metadata": {"name": "a", "finalizers": [name]}}
        registry.apply(CONFIG_MAPS, "default", "a", applied=applied, manager=manager)
    gone = {**head, "metadata": {"name": "a"}}
    new, _ = registry.apply(CONFIG_MAPS, "default", "a", applied=gone, manager="one")
    assert new["metadata"]["finalizers"] == ["example.org/two"]


def test_service_ports_are_told_apart_by_port_and_protocol(registry: Registry) -> None:
    head: Obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}

    def ports(*pairs: tuple[str, int]) -> Obj:
        return {**head, "spec": {"ports": [{"name": n, "port": p} for n, p in pairs]}}

    registry.apply(SERVICES, "default", "s", applied=ports(("http", 80), ("https", 443)), manager="me")
    new, _ = registry.apply(SERVICES, "default", "s", applied=ports(("https", 443)), manager="me")
    assert [p["port"] for p in new["spec"]["ports"]] == [443]


def test_custom_lists_merge_by_the_keys_of_their_schema(registry: Registry) -> None:
    fields = {"name": {"type": "string"}, "weight": {"type": "integer"}}
    item = {"type": "object", "required": ["name"], "properties": fields}
    routes = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    spec = {"type": "object", "properties": {"routes": routes}}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {
        "metadata": {"name": "tables.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "tables", "kind": "Table"},
            "versions": [version],
        },
    }
    registry.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
    resource = registry.catalog.find("example.org", version="v1", plural="tables")
    assert resource is not None
    head = {"apiVersion": "example.org/v1", "kind": "Table", "metadata": {"name": "t"}}
    for manager, name in (("one", "a"), ("two", "b")):
        applied = {**head, "spec": {"routes": [{"name": name, "weight": 1}]}}
        registry.apply(resource, "default", "t", applied=applied, manager=manager)
    found = registry.get(resource, "default", "t")["spec"]["routes"]
    assert [r["name"] for r in found] == ["a", "b"]


def test_applying_status_is_separate_from_applying_the_rest(registry: Registry) -> None:
    put(registry, web())
    condition = {"type": "Available", "status": "True"}
    status = web() | {"status": {"conditions": [condition]}}
    registry.apply(DEPLOYMENTS, "default", "web", applied=status, manager="reporter", subresource="status")
    progressing = {"type": "Progressing", "status": "True"}
    second = web() | {"status": {"conditions": [progressing]}}
    new, _ = registry.apply(DEPLOYMENTS, "default", "web", applied=second, manager="other", subresource="status")
    assert [c["type"] for c in new["status"]["conditions"]] == ["Available", "Progressing"]
    after = put(registry, web(image="web:2"))
    assert after["status"] == new["status"]


def test_merging_never_touches_the_object_that_watchers_hold(registry: Registry) -> None:
    before = put(registry, web(env=[{"name": "A", "value": "1"}]))
    kept = copy.deepcopy(before)
    put(registry, web())
    assert before == kept
