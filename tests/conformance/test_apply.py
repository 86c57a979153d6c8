"""Server-side apply: who owns which field, what a conflict says, what leaving out means."""

from typing import Any

from tests.conformance.world import APPLY, Caller, Obj, Place, config

DEPLOYMENTS = "apps/v1/deployments"


def owners(obj: Obj) -> dict[str, Obj]:
    """manager -> the fields of its one entry."""
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", ())}


def wanted(place: Place, **spec: Any) -> Obj:
    body = place.deployment("web", replicas=0)
    body["spec"].update(spec)
    return body


def without_replicas(body: Obj) -> Obj:
    return {**body, "spec": {key: value for key, value in body["spec"].items() if key != "replicas"}}


def test_an_apply_makes_what_is_not_there_and_owns_what_it_names(place: Place) -> None:
    path = place.path("configmaps", "one")
    first = place.caller.try_apply(path, config("one", a="1"), manager="alice")
    assert first.code == 201
    (entry,) = first.body["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("alice", "Apply", "v1")
    assert entry["fieldsType"] == "FieldsV1"
    assert entry["fieldsV1"] == {"f:data": {"f:a": {}}}
    again = place.caller.try_apply(path, config("one", a="1"), manager="alice")
    assert again.code == 200
    assert again.body["metadata"]["resourceVersion"] == first.body["metadata"]["resourceVersion"]


def test_an_apply_without_a_name_for_its_owner_is_refused(place: Place) -> None:
    found = place.caller.ask("PATCH", place.path("configmaps", "one"), config("one"), kind=APPLY)
    assert (found.code, found.body["reason"]) == (422, "Invalid")
    assert "fieldManager: Required value: is required for apply patch" in found.message


def test_a_conflict_names_the_owner_and_the_field(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.apply(path, config("one", a="1", b="1"), manager="alice")
    found = place.caller.try_apply(path, config("one", a="2"), manager="bob")
    assert (found.code, found.body["reason"]) == (409, "Conflict")
    assert found.message == 'Apply failed with 1 conflict: conflict with "alice": .data.a'
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".data.a"}
    assert found.body["details"]["causes"] == [cause]
    assert place.caller.get(path)["data"] == {"a": "1", "b": "1"}


def test_several_conflicts_are_listed_by_owner(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.apply(path, config("one", a="1", b="1"), manager="alice")
    found = place.caller.try_apply(path, config("one", a="2", b="2"), manager="bob")
    assert found.message == 'Apply failed with 2 conflicts: conflicts with "alice":\n- .data.a\n- .data.b'


def test_a_conflict_with_a_plain_write_names_its_version_too(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.create(place.path("configmaps"), config("one", a="1"), fieldManager="shell")
    found = place.caller.try_apply(path, config("one", a="2"), manager="bob")
    assert found.message == 'Apply failed with 1 conflict: conflict with "shell" using v1: .data.a'


def test_the_same_value_is_owned_by_both(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.apply(path, config("one", a="1"), manager="alice")
    both = place.caller.apply(path, config("one", a="1", b="2"), manager="bob")
    assert owners(both)["alice"] == {"f:data": {"f:a": {}}}
    assert owners(both)["bob"] == {"f:data": {"f:a": {}, "f:b": {}}}
    kept = place.caller.apply(path, config("one", b="2"), manager="bob")
    assert kept["data"] == {"a": "1", "b": "2"}


def test_force_takes_the_field_from_its_owner(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.apply(path, config("one", a="1", b="1"), manager="alice")
    taken = place.caller.apply(path, config("one", a="2"), manager="bob", force="true")
    assert taken["data"] == {"a": "2", "b": "1"}
    assert owners(taken) == {"alice": {"f:data": {"f:b": {}}}, "bob": {"f:data": {"f:a": {}}}}


def test_leaving_out_a_field_once_owned_removes_it(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.apply(path, config("one", a="1", b="2"), manager="alice")
    place.caller.patch(path, {"data": {"c": "3"}}, fieldManager="shell")
    assert place.caller.apply(path, config("one", a="1"), manager="alice")["data"] == {"a": "1", "c": "3"}


def test_containers_ports_and_variables_merge_by_their_keys(place: Place) -> None:
    path = place.path(DEPLOYMENTS, "web")

    def body(*containers: Obj) -> Obj:
        found = without_replicas(wanted(place))
        found["spec"]["template"]["spec"]["containers"] = list(containers)
        return found

    main = {"name": "main", "image": place.image, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}
    place.caller.apply(path, body({**main, "ports": [{"containerPort": 80, "name": "http"}]}), manager="alice")
    env = [{"name": "C", "value": "3"}]
    side = {"name": "side", "image": place.image}
    found = place.caller.apply(
        path, body({"name": "main", "env": env, "ports": [{"containerPort": 81}]}, side), manager="bob", force="true"
    )
    first, second = found["spec"]["template"]["spec"]["containers"]
    assert {each["name"]: each["value"] for each in first["env"]} == {"A": "1", "B": "2", "C": "3"}
    assert {each["containerPort"] for each in first["ports"]} == {80, 81}
    assert second["name"] == "side"
    fewer = place.caller.apply(path, body({**main, "env": main["env"][:1]}), manager="alice")
    containers = {each["name"]: each for each in fewer["spec"]["template"]["spec"]["containers"]}
    assert {each["name"] for each in containers["main"]["env"]} == {"A", "C"}
    assert {each["containerPort"] for each in containers["main"]["ports"]} == {81}
    assert set(containers) == {"main", "side"}


def test_an_item_without_its_key_or_twice_the_same_is_refused(place: Place) -> None:
    body = without_replicas(wanted(place))
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    found = place.caller.try_apply(place.path(DEPLOYMENTS, "web"), body, manager="alice")
    assert found.code in (400, 500)  # a real 1.33 says 500 to what it cannot merge
    container["env"] = [{"value": "1"}]
    assert place.caller.try_apply(place.path(DEPLOYMENTS, "web"), body, manager="alice").code in (400, 422, 500)


def test_replicas_that_another_scales_stay_as_they_are(place: Place) -> None:
    """What routerd scales, an apply of `slipway` that does not name replicas leaves alone."""
    caller, path = place.caller, place.path(DEPLOYMENTS, "web")
    caller.create(place.path(DEPLOYMENTS), wanted(place), fieldManager="slipway-first")
    caller.patch(f"{path}/scale", {"spec": {"replicas": 2}}, fieldManager="routerd")
    mine = without_replicas(wanted(place, minReadySeconds=1))
    applied = caller.apply(path, mine, manager="slipway", force="true")
    assert applied["spec"]["replicas"] == 2
    entry = next(each for each in applied["metadata"]["managedFields"] if each["manager"] == "routerd")
    assert entry["subresource"] == "scale"
    assert entry["fieldsV1"] == {"f:spec": {"f:replicas": {}}}
    refused = caller.try_apply(path, wanted(place, replicas=5), manager="other")
    assert refused.code == 409
    assert 'conflict with "routerd" with subresource "scale" using apps/v1: .spec.replicas' in refused.message


def test_scale_can_be_applied_too(place: Place) -> None:
    caller, path = place.caller, place.path(DEPLOYMENTS, "web")
    caller.apply(path, without_replicas(wanted(place)), manager="slipway")
    body = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 0}}
    caller.apply(f"{path}/scale", body, manager="routerd", force="true")
    found = caller.get(path)
    assert found["spec"]["replicas"] == 0
    entry = next(each for each in found["metadata"]["managedFields"] if each["manager"] == "routerd")
    assert (entry["operation"], entry["subresource"]) == ("Apply", "scale")
    refused = caller.try_apply(f"{path}/scale", {**body, "spec": {"replicas": 3}}, manager="another")
    assert refused.code == 409
    assert 'conflict with "routerd"' in refused.message


def test_a_dry_run_of_an_apply_shows_the_conflict_and_changes_nothing(place: Place) -> None:
    path = place.path("configmaps", "one")
    place.caller.apply(path, config("one", a="1"), manager="alice")
    assert place.caller.try_apply(path, config("one", a="2"), manager="bob", dryRun="All").code == 409
    shown = place.caller.apply(path, config("one", a="1", b="2"), manager="alice", dryRun="All")
    assert shown["data"] == {"a": "1", "b": "2"}
    assert place.caller.get(path)["data"] == {"a": "1"}


def test_two_appliers_of_one_object_each_keep_their_own(place: Place) -> None:
    caller: Caller = place.caller
    path = place.path("configmaps", "one")
    for _ in range(2):
        caller.apply(path, config("one", labels={"team": "a"}, a="1"), manager="alice")
        caller.apply(path, config("one", labels={"tier": "web"}, b="2"), manager="bob")
    found = caller.get(path)
    assert found["data"] == {"a": "1", "b": "2"}
    assert found["metadata"]["labels"] == {"team": "a", "tier": "web"}
