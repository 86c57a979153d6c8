"""The HTTP side of the verbs: codes, Statuses, pages, tables, dry runs, warnings."""

from typing import Any

import pytest

from clusters.embedded import resources
from tests.clusters.embedded.server.manifests import (
    CONFIG_MAPS,
    DEFINITIONS,
    DEPLOYMENTS,
    PODS,
    config,
    definition,
    deployment,
    pod,
)

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
WIDGETS = "/apis/example.org/v1/namespaces/default/widgets"


async def test_what_is_made_can_be_read_changed_and_removed(cluster: Any) -> None:
    made = await cluster.post(CONFIG_MAPS, config("a", x="1"))
    assert await cluster.get(f"{CONFIG_MAPS}/a") == made
    status, changed = await cluster.ask("PUT", f"{CONFIG_MAPS}/a", {**made, "data": {"x": "2"}})
    assert (status, changed["data"]) == (200, {"x": "2"})
    status, refused = await cluster.ask("PUT", f"{CONFIG_MAPS}/a", {**made, "data": {"x": "3"}})
    assert (status, refused["reason"]) == (409, "Conflict")
    status, gone = await cluster.ask("DELETE", f"{CONFIG_MAPS}/a")
    assert (status, gone["status"]) == (200, "Success")
    status, missing = await cluster.ask("GET", f"{CONFIG_MAPS}/a")
    assert status == 404
    assert missing["message"] == 'configmaps "a" not found'
    assert missing["details"] == {"name": "a", "kind": "configmaps"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/apis/none.example/v1/things", 404),
        ("GET", "/api/v1/namespaces/default/deployments", 404),
        ("GET", "/api/v1/namespaces/default/pods/a/b/c", 404),
        ("POST", f"{PODS}/a", 405),
        ("POST", CONFIG_MAPS.replace("/namespaces/default", ""), 400),
        ("POST", "/api/v1/namespaces/nowhere/configmaps", 404),
        ("GET", f"{PODS}?labelSelector=a+in+(b", 400),
        ("GET", f"{PODS}?fieldSelector=spec.color=red", 400),
        ("GET", f"{PODS}?limit=many", 400),
        ("GET", f"{PODS}?resourceVersion=999999", 504),
        ("GET", f"{PODS}?continue=rubbish", 400),
        ("GET", "/debug", 404),
        ("POST", "/apis/apps/v1/namespaces/default/statefulsets", 404),  # what Slipway does not use
    ],
)
async def test_a_wrong_request_is_answered_with_a_status(cluster: Any, method: str, path: str, code: int) -> None:
    body = config("x") if method == "POST" else None
    status, answer = await cluster.ask(method, path, body)
    assert (status, answer["kind"], answer["code"]) == (code, "Status", code)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"text"', b'{"metadata": 3}', b'{"kind": "Pod"}', b""])
async def test_a_body_that_is_no_object_of_the_kind_is_refused(cluster: Any, body: bytes) -> None:
    status, answer = await cluster.ask("POST", CONFIG_MAPS, body)
    assert (status, answer["reason"]) == (400, "BadRequest")
    assert (await cluster.get(CONFIG_MAPS))["items"] == []


async def test_an_oversized_body_is_refused(cluster: Any) -> None:
    status, answer = await cluster.ask("POST", CONFIG_MAPS, config("a", x="x" * 4_000_000))
    assert (status, answer["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_list_comes_in_pages_that_together_are_everything(cluster: Any) -> None:
    for number in range(5):
        await cluster.post(CONFIG_MAPS, config(f"c{number}"))
    first = await cluster.get(f"{CONFIG_MAPS}?limit=2")
    assert first["kind"] == "ConfigMapList"
    assert first["metadata"]["remainingItemCount"] == 3
    names = [item["metadata"]["name"] for item in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        page = await cluster.get(f"{CONFIG_MAPS}?limit=2&continue={token}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue")
    assert names == ["c0", "c1", "c2", "c3", "c4"]


async def test_lists_are_selected_by_labels_and_fields(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a", labels={"tier": "front"}))
    await cluster.post(CONFIG_MAPS, config("b", labels={"tier": "back"}))
    await cluster.post(CONFIG_MAPS, config("c"))

    async def names(query: str) -> list[str]:
        found = await cluster.get(f"{CONFIG_MAPS}?{query}")
        return [item["metadata"]["name"] for item in found["items"]]

    assert await names("labelSelector=tier%20in%20(front,back)") == ["a", "b"]
    assert await names("labelSelector=tier!=front") == ["b", "c"]
    assert await names("labelSelector=!tier") == ["c"]
    assert await names("fieldSelector=metadata.name=b") == ["b"]
    assert await names("fieldSelector=metadata.name!=b") == ["a", "c"]


async def test_a_dry_run_answers_and_keeps_nothing(cluster: Any) -> None:
    status, made = await cluster.ask("POST", f"{CONFIG_MAPS}?dryRun=All", config("a"))
    assert (status, bool(made["metadata"]["uid"])) == (201, True)
    status, _ = await cluster.ask("GET", f"{CONFIG_MAPS}/a")
    assert status == 404


async def test_unknown_fields_are_refused_warned_of_or_dropped_as_asked(cluster: Any) -> None:
    obj = {**config("a"), "dater": {}}
    status, refused = await cluster.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Strict", obj)
    said = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dater"'
    assert (status, refused["message"]) == (400, said)
    headers = {"Authorization": f"Bearer {cluster.token}"}
    async with cluster.session.post(cluster.url + CONFIG_MAPS, json=obj, headers=headers) as response:
        assert response.headers.getall("Warning") == ['299 - "unknown field \\"dater\\""']
        assert "dater" not in await response.json()
    obj["metadata"] = {"name": "b"}
    status, _ = await cluster.ask("POST", f"{CONFIG_MAPS}?fieldValidation=Ignore", obj)
    assert status == 201


async def test_every_kind_of_patch_is_taken(cluster: Any) -> None:
    await cluster.post(DEPLOYMENTS, deployment("web"))
    containers = [{"name": "side", "image": "side:1"}]
    strategic = {"spec": {"template": {"spec": {"containers": containers}}}}
    status, found = await cluster.ask("PATCH", f"{DEPLOYMENTS}/web", strategic, kind=STRATEGIC)
    assert status == 200
    assert sorted(c["name"] for c in found["spec"]["template"]["spec"]["containers"]) == ["main", "side"]
    operations = [{"op": "replace", "path": "/spec/replicas", "value": 3}]
    json_patch = "application/json-patch+json"
    status, found = await cluster.ask("PATCH", f"{DEPLOYMENTS}/web", operations, kind=json_patch)
    assert found["spec"]["replicas"] == 3
    merge = {"metadata": {"resourceVersion": "1"}}
    status, refused = await cluster.ask("PATCH", f"{DEPLOYMENTS}/web", merge, kind=MERGE)
    assert (status, refused["reason"]) == (409, "Conflict")
    status, refused = await cluster.ask("PATCH", f"{DEPLOYMENTS}/web", {}, kind="text/plain")
    assert status == 415


async def test_scale_is_read_and_written_under_the_callers_name(cluster: Any) -> None:
    await cluster.post(DEPLOYMENTS, deployment("web", replicas=2))
    scale = await cluster.get(f"{DEPLOYMENTS}/web/scale")
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == (
        "Scale",
        {"replicas": 2},
        "app=web",
    )
    path = f"{DEPLOYMENTS}/web/scale?fieldManager=routerd"
    status, scaled = await cluster.ask("PATCH", path, {"spec": {"replicas": 5}}, kind=MERGE)
    assert (status, scaled["spec"]["replicas"]) == (200, 5)
    status, stale = await cluster.ask("PUT", f"{DEPLOYMENTS}/web/scale", scale)
    assert (status, stale["reason"]) == (409, "Conflict")
    found = await cluster.get(f"{DEPLOYMENTS}/web")
    owners = {e["manager"]: e for e in found["metadata"]["managedFields"]}
    assert owners["routerd"]["subresource"] == "scale"
    assert owners["routerd"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


async def test_an_apply_conflict_comes_over_the_wire_with_its_causes(cluster: Any) -> None:
    status, _ = await cluster.apply(f"{DEPLOYMENTS}/web", deployment("web", replicas=2), manager="slipway")
    assert status == 201
    path, obj = f"{DEPLOYMENTS}/web", deployment("web", replicas=3)
    status, refused = await cluster.apply(path, obj, manager="other")
    assert (status, refused["reason"]) == (409, "Conflict")
    assert refused["details"]["causes"][0]["field"] == ".spec.replicas"
    status, _ = await cluster.apply(path, obj, manager="other", force=True)
    assert status == 200
    status, refused = await cluster.ask("PATCH", path, obj, kind="application/apply-patch+yaml")
    assert (status, "fieldManager" in refused["message"]) == (422, True)


async def test_a_table_has_kubectls_columns(cluster: Any) -> None:
    await cluster.post(PODS, pod("a"))
    table = await cluster.get(PODS, Accept=TABLE)
    shown = [c["name"] for c in table["columnDefinitions"] if not c["priority"]]
    assert shown == ["Name", "Ready", "Status", "Restarts", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:4] == ["a", "0/1", "Pending", "0"]
    assert row["object"]["metadata"]["name"] == "a"


async def test_a_custom_kind_is_served_in_all_its_versions_with_its_columns(cluster: Any) -> None:
    await cluster.post(DEFINITIONS, definition())
    made = await cluster.post(WIDGETS, {"metadata": {"name": "w"}, "spec": {"size": 2, "odd": 1}})
    assert (made["apiVersion"], made["spec"]) == ("example.org/v1", {"size": 2})
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    status, _ = await cluster.ask("PATCH", f"{WIDGETS}/w/status", ready, kind=MERGE)
    assert status == 200
    status, ignored = await cluster.ask("PATCH", f"{WIDGETS}/w", {"status": {"conditions": []}}, kind=MERGE)
    assert ignored["status"] == ready["status"]
    beta = WIDGETS.replace("/v1/", "/v1beta1/")
    assert (await cluster.get(f"{beta}/w"))["apiVersion"] == "example.org/v1beta1"
    status, patched = await cluster.ask("PATCH", f"{beta}/w", {"spec": {"size": 3}}, kind=MERGE)
    assert (status, patched["spec"]["size"]) == (200, 3)
    table = await cluster.get(WIDGETS, Accept=TABLE)
    assert table["rows"][0]["cells"] == ["w", 3, "True"]
    status, refused = await cluster.ask("PATCH", f"{WIDGETS}/w", {"spec": {"size": "x"}}, kind=MERGE)
    assert (status, refused["reason"]) == (422, "Invalid")
    assert refused["details"]["causes"][0]["field"] == "spec.size"


async def test_deleting_a_collection_takes_what_is_selected(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a", labels={"x": "y"}))
    await cluster.post(CONFIG_MAPS, config("b"))
    status, _ = await cluster.ask("DELETE", f"{CONFIG_MAPS}?labelSelector=x=y")
    assert status == 200
    left = await cluster.get(CONFIG_MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_an_eviction_spends_the_budget_and_is_refused_when_it_is_spent(cluster: Any) -> None:
    for name in ("a", "b"):
        obj = pod(name)
        obj["metadata"]["labels"] = {"app": "web"}
        await cluster.post(PODS, obj)
        ready = {"status": {"phase": "Running"}}
        await cluster.ask("PATCH", f"{PODS}/{name}/status", ready, kind=MERGE)
    budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    await cluster.post(budgets, {"metadata": {"name": "web"}, "spec": spec})
    allowed = {"status": {"disruptionsAllowed": 1}}
    await cluster.ask("PATCH", f"{budgets}/web/status", allowed, kind=MERGE)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    status, _ = await cluster.ask("POST", f"{PODS}/a/eviction", eviction)
    assert status == 201
    status, refused = await cluster.ask("POST", f"{PODS}/b/eviction", eviction)
    assert (status, refused["reason"]) == (429, "TooManyRequests")
    assert cluster.registry.find(resources.PODS, "default", "b") is not None


async def test_exec_is_said_to_be_missing(cluster: Any) -> None:
    await cluster.post(PODS, pod("a"))
    status, answer = await cluster.ask("POST", f"{PODS}/a/exec?command=ls")
    assert (status, answer["reason"]) == (501, "NotImplemented")


async def test_an_exact_past_state_of_a_list_is_shown_until_it_is_forgotten(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a"))
    now = (await cluster.get(CONFIG_MAPS))["metadata"]["resourceVersion"]
    exact = f"{CONFIG_MAPS}?resourceVersionMatch=Exact&resourceVersion="
    assert len((await cluster.get(exact + now))["items"]) == 1
    await cluster.post(CONFIG_MAPS, config("b"))
    assert len((await cluster.get(exact + now))["items"]) == 1
    cluster.registry.compact()
    status, answer = await cluster.ask("GET", exact + now)
    assert (status, answer["reason"]) == (410, "Expired")


async def test_a_list_of_many_megabytes_arrives_whole_and_the_connection_goes_on(cluster: Any) -> None:
    text = "".join(chr(97 + number % 26) for number in range(700_000))
    made = [await cluster.post(CONFIG_MAPS, config(name, text=text)) for name in "abcd"]
    for _ in range(2):
        listed = await cluster.get(CONFIG_MAPS)
        assert [item["data"] for item in listed["items"]] == [each["data"] for each in made]
