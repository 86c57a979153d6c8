"""What a write is asked to do besides writing: try only, be strict about fields, say who writes."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.world import APPLY, JSON_PATCH, MERGE, STRATEGIC, Answer, Obj, Place, config, names

DEPLOYMENTS = "apps/v1/deployments"
DRY = {"dryRun": "All"}


# --- Dry run ----------------------------------------------------------------------------------------


@pytest.fixture
def web(place: Place) -> Place:
    """A Deployment of nothing, a pod that nobody runs, and three ConfigMaps."""
    place.caller.create(place.path(DEPLOYMENTS), place.deployment("web", replicas=0))
    place.run("idle", spec={"nodeSelector": {"slipway.dev/no-such": "node"}})
    for name in "abc":
        place.caller.create(place.path("configmaps"), config(name, labels={"mine": "yes"}, word="old"))
    return place


def replaced(place: Place) -> Answer:
    body = place.caller.get(place.path("configmaps", "a"))
    return place.caller.ask("PUT", place.path("configmaps", "a"), {**body, "data": {"word": "new"}}, query=DRY)


def patched(kind: str, body: Any) -> Callable[[Place], Answer]:
    return lambda place: place.caller.ask("PATCH", place.path("configmaps", "a"), body, kind=kind, query=DRY)


def applied(name: str) -> Callable[[Place], Answer]:
    def apply(place: Place) -> Answer:
        query = {**DRY, "fieldManager": "alice", "force": "true"}
        return place.caller.ask(
            "PATCH", place.path("configmaps", name), config(name, word="new"), kind=APPLY, query=query
        )

    return apply


def scaled(place: Place) -> Answer:
    body = {"spec": {"replicas": 3}}
    return place.caller.ask("PATCH", place.path(DEPLOYMENTS, "web/scale"), body, kind=MERGE, query=DRY)


def told(place: Place) -> Answer:
    body = {"status": {"conditions": [{"type": "Seen", "status": "True"}]}}
    return place.caller.ask("PATCH", place.path(DEPLOYMENTS, "web/status"), body, kind=MERGE, query=DRY)


def bound(place: Place) -> Answer:
    body = {"metadata": {"name": "idle"}, "target": {"kind": "Node", "name": "nowhere"}}
    return place.caller.ask("POST", place.path("pods", "idle/binding"), body, query=DRY)


def evicted(place: Place) -> Answer:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "idle", "namespace": place.name}}
    return place.caller.ask("POST", place.path("pods", "idle/eviction"), body, query=DRY)


VERBS: dict[str, Callable[[Place], Answer]] = {
    "create": lambda place: place.caller.ask("POST", place.path("configmaps"), config("new", a="b"), query=DRY),
    "update": replaced,
    "merge patch": patched(MERGE, {"data": {"word": "new"}}),
    "strategic patch": patched(STRATEGIC, {"data": {"word": "new"}}),
    "JSON patch": patched(JSON_PATCH, [{"op": "replace", "path": "/data/word", "value": "new"}]),
    "apply": applied("a"),
    "apply of something new": applied("new"),
    "delete": lambda place: place.caller.ask("DELETE", place.path("configmaps", "a"), query=DRY),
    "delete, told in the body": lambda place: place.caller.ask(
        "DELETE", place.path("configmaps", "a"), {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}
    ),
    "delete a collection": lambda place: place.caller.ask(
        "DELETE", place.path("configmaps"), query={**DRY, "labelSelector": "mine=yes"}
    ),
    "scale": scaled,
    "status": told,
    "bind": bound,
    "evict": evicted,
}


def everything(place: Place) -> dict[str, Obj]:
    found = {kind: place.caller.get(place.path(kind))["items"] for kind in ("configmaps", "pods", DEPLOYMENTS)}
    return {f"{kind}/{item['metadata']['name']}": item for kind, items in found.items() for item in items}


@pytest.mark.parametrize("verb", VERBS)
def test_trying_only_answers_as_if_and_changes_nothing(web: Place, verb: str) -> None:
    web.caller.until(web.path(DEPLOYMENTS, "web"), lambda each: (each.get("status") or {}).get("observedGeneration"))
    web.until_event("idle", "FailedScheduling")
    before = everything(web)
    found = VERBS[verb](web)
    assert found.code in (200, 201), found.body
    assert everything(web) == before


def test_trying_only_shows_what_would_be(web: Place) -> None:
    assert replaced(web).body["data"] == {"word": "new"}
    assert scaled(web).body["spec"] == {"replicas": 3}
    made = VERBS["create"](web).body
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"]


def test_trying_only_finds_what_is_wrong(web: Place) -> None:
    found = web.caller.ask("POST", web.path(DEPLOYMENTS), web.deployment("bad", replicas=-1), query=DRY)
    assert found.code == 422
    assert web.caller.ask("POST", web.path("configmaps"), config("a"), query=DRY).code == 409


def test_trying_something_else_than_all_is_refused(place: Place) -> None:
    found = place.caller.ask("POST", place.path("configmaps"), config("a"), query={"dryRun": "Some"})
    assert (found.code, found.body["reason"]) == (422, "Invalid")
    assert found.message.startswith('CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ')
    assert found.message.endswith('supported values: "All"')
    assert "a" not in names(place.caller.get(place.path("configmaps")))


# --- Fields nobody knows ----------------------------------------------------------------------------


def misspelt(place: Place, method: str, mode: str) -> Answer:
    """A Deployment written with `replicaz`, by each way of writing."""
    query, path = {"fieldValidation": mode}, place.path(DEPLOYMENTS, "web")
    if method == "PUT":
        body = place.caller.get(path)
        body["spec"]["replicaz"] = 3
        return place.caller.ask("PUT", path, body, query=query)
    kind = {"merge": MERGE, "strategic": STRATEGIC}[method]
    return place.caller.ask("PATCH", path, {"spec": {"replicaz": 3}}, kind=kind, query=query)


@pytest.mark.parametrize("method", ["PUT", "merge", "strategic"])
def test_an_unknown_field_is_told_whichever_way_it_is_written(web: Place, method: str) -> None:
    said = 'unknown field "spec.replicaz"'
    refused = misspelt(web, method, "Strict")
    assert refused.code == (400 if method == "PUT" else 422)
    assert f"strict decoding error: {said}" in refused.message
    warned = misspelt(web, method, "Warn")
    assert warned.code == 200
    assert said.replace('"', '\\"') in warned.headers["Warning"]
    silent = misspelt(web, method, "Ignore")
    assert silent.code == 200
    assert "Warning" not in silent.headers
    assert "replicaz" not in web.caller.get(web.path(DEPLOYMENTS, "web"))["spec"]


@pytest.mark.parametrize("mode", ["Strict", "Warn", "Ignore"])
def test_an_apply_refuses_a_field_that_the_schema_does_not_declare(place: Place, mode: str) -> None:
    path, body = place.path(DEPLOYMENTS, "web"), place.deployment("web", replicas=0)
    body["spec"]["replicaz"] = 3
    found = place.caller.try_apply(path, body, manager="alice", fieldValidation=mode)
    said = "failed to create typed patch object ({}; apps/v1, Kind=Deployment): {}"
    why = ".spec.replicaz: field not declared in schema"
    assert (found.code, found.message) == (500, said.format("/web", why))
    body["metadata"]["namespace"] = place.name  # as it was sent, not as the path has it
    found = place.caller.try_apply(path, body, manager="alice", fieldValidation=mode)
    assert (found.code, found.message) == (500, said.format(f"{place.name}/web", why))
    assert place.caller.ask("GET", path).code == 404


@pytest.mark.parametrize(("mode", "code"), [("Strict", 400), ("Warn", 201), ("Ignore", 201)])
def test_a_field_that_is_there_twice_is_told(place: Place, mode: str, code: int) -> None:
    text = b'{"metadata": {"name": "twice"}, "data": {"a": "1", "a": "2"}}'
    found = place.caller.ask_raw("POST", place.path("configmaps"), text, query={"fieldValidation": mode})
    assert found.code == code
    if code == 400:
        unread = 'ConfigMap in version "v1" cannot be handled as a ConfigMap'
        assert found.message == f'{unread}: strict decoding error: duplicate field "data.a"'
        return
    assert found.body["data"] == {"a": "2"}
    assert ('duplicate field \\"data.a\\"' in found.headers.get("Warning", "")) is (mode == "Warn")


@pytest.mark.parametrize("mode", ["Strict", "Warn", "Ignore"])
@pytest.mark.parametrize("way", ["create", "apply"])
def test_a_key_that_is_there_twice_in_yaml_is_told_by_its_line(place: Place, way: str, mode: str) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: twice}\ndata:\n  a: '1'\n  a: '2'\n"
    path, query = place.path("configmaps"), {"fieldValidation": mode}
    if way == "create":
        found = place.caller.ask_raw("POST", path, text, kind="application/yaml", query=query)
        start = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
    else:
        query["fieldManager"] = "alice"
        found = place.caller.ask_raw("PATCH", f"{path}/twice", text, kind=APPLY, query=query)
        start = "error strict decoding YAML: error converting YAML to JSON: "
    if mode == "Strict":
        said = f'{start}yaml: unmarshal errors:\n  line 6: key "a" already set in map'
        assert (found.code, found.message) == (400, said)
        return
    assert (found.code, found.body["data"]) == (201, {"a": "2"})
    warned = found.headers.get("Warning", "")
    assert ('"line 6: key \\"a\\" already set in map"' in warned) is (mode == "Warn")


def sent(place: Place, kind: str) -> tuple[str, str, Obj]:
    """A request whose body is no object of the path's kind, or that takes only a part of it."""
    web = place.path(DEPLOYMENTS, "web")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "idle"}}
    wanted = {"resourceAttributes": {"verb": "get", "resource": "pods"}}
    scale = {"metadata": {"name": "web", "namespace": place.name}, "spec": {"replicas": 0}}
    whole = place.caller.get(web)
    del whole["metadata"]["resourceVersion"]
    requests: dict[str, tuple[str, str, Obj]] = {
        "Deployment": ("PUT", f"{web}/status", whole),
        "Scale": ("PUT", f"{web}/scale", {"apiVersion": "autoscaling/v1", "kind": "Scale", **scale}),
        "TokenRequest": ("POST", place.path("serviceaccounts", "default/token"), {"spec": {}}),
        "Eviction": ("POST", place.path("pods", "idle/eviction"), eviction),
        "SelfSubjectAccessReview": ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": wanted}),
    }
    return requests[kind]


@pytest.mark.parametrize("kind", ["Deployment", "Scale", "TokenRequest", "Eviction", "SelfSubjectAccessReview"])
def test_an_unknown_field_is_told_also_where_nothing_is_stored_of_it(web: Place, kind: str) -> None:
    method, path, body = sent(web, kind)
    refused = web.caller.ask(method, path, {**body, "foo": 1}, query={"fieldValidation": "Strict"})
    said = f'{kind} in version "v1" cannot be handled as a {kind}: strict decoding error: unknown field "foo"'
    assert (refused.code, refused.message) == (400, said)
    warned = web.caller.ask(method, path, {**body, "foo": 1})
    assert warned.code in (200, 201), warned.body
    assert 'unknown field \\"foo\\"' in warned.headers["Warning"]


def test_a_way_of_checking_that_does_not_exist_is_refused(place: Place) -> None:
    found = place.caller.ask("POST", place.path("configmaps"), config("a"), query={"fieldValidation": "Loud"})
    assert found.code == 422
    assert found.message.startswith(
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Loud": supported values: '
    )


def test_only_an_apply_can_be_forced(web: Place) -> None:
    found = web.caller.ask("PATCH", web.path("configmaps", "a"), {}, kind=MERGE, query={"force": "true"})
    assert found.code == 422
    assert "force: Forbidden: may not be specified for non-apply patch" in found.message


# --- Conflicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["update", "patch", "apply", "scale", "delete"])
def test_a_write_that_names_an_old_version_is_a_conflict(web: Place, way: str) -> None:
    path = web.path(DEPLOYMENTS, "web")
    old = web.caller.get(path)
    web.caller.patch(path, {"metadata": {"labels": {"a": "b"}}})
    version = {"metadata": {"name": "web", "resourceVersion": old["metadata"]["resourceVersion"]}}
    applied = {"apiVersion": "apps/v1", "kind": "Deployment", **version, "spec": {"paused": True}}
    ways: dict[str, Callable[[], Answer]] = {
        "update": lambda: web.caller.ask("PUT", path, {**old, "spec": {**old["spec"], "paused": True}}),
        "patch": lambda: web.caller.ask("PATCH", path, {**version, "spec": {"paused": True}}, kind=MERGE),
        "apply": lambda: web.caller.try_apply(path, applied, manager="alice"),
        "scale": lambda: web.caller.ask("PUT", f"{path}/scale", {**version, "spec": {"replicas": 1}}),
        "delete": lambda: web.caller.ask("DELETE", path, {"preconditions": {"resourceVersion": "1"}}),
    }
    found = ways[way]()
    assert (found.code, found.body["reason"]) == (409, "Conflict")
    named = "Deployment" if way == "delete" else "deployments"
    assert found.message.startswith(f'Operation cannot be fulfilled on {named}.apps "web": the ')
    assert found.body["details"] == {"name": "web", "group": "apps", "kind": named}
    if way == "delete":
        assert "the ResourceVersion in the precondition (1) does not match the ResourceVersion in rec" in found.message
    else:
        assert found.message.endswith("please apply your changes to the latest version and try again")
    after = web.caller.get(path)["spec"]
    assert (after.get("paused", False), after["replicas"]) == (False, 0)
