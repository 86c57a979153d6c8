"""The registry's verbs, in process: what controllers, scheduler and kubelet rely on."""

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clusters.embedded import errors
from clusters.embedded.journal import Journal
from clusters.embedded.registry import Admission, Registry
from clusters.embedded.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    EVENTS,
    NAMESPACES,
    PODS,
    SERVICES,
)
from clusters.embedded.selectors import parse
from clusters.embedded.store import Store

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def registry() -> Registry:
    return Registry(Store(":memory:"), clock=lambda: NOON)


def config(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "web:1"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


def deployment(name: str, *, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod(name)["spec"]}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def widgets() -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "color": {"type": "string", "default": "blue"},
                },
            }
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [version]}
    return {"metadata": {"name": "widgets.example.org"}, "spec": spec}


def test_a_new_object_gets_what_the_system_gives(registry: Registry) -> None:
    made = registry.create(CONFIG_MAPS, {"metadata": {"generateName": "cm-"}}, namespace="default")
    metadata = made["metadata"]
    assert metadata["name"].startswith("cm-")
    assert len(metadata["name"]) == len("cm-") + 5
    assert metadata["creationTimestamp"] == "2026-11-21T12:00:00Z"
    assert metadata["uid"]
    assert int(metadata["resourceVersion"]) == registry.revision
    assert made["kind"] == "ConfigMap"


def test_a_name_can_be_taken_only_once(registry: Registry) -> None:
    registry.create(CONFIG_MAPS, config("a"), namespace="default")
    with pytest.raises(errors.AlreadyExists, match='configmaps "a" already exists'):
        registry.create(CONFIG_MAPS, config("a"), namespace="default")


def test_nothing_is_created_in_a_namespace_that_is_missing_or_going_away(registry: Registry) -> None:
    with pytest.raises(errors.NotFound, match='namespaces "team" not found'):
        registry.create(CONFIG_MAPS, config("a"), namespace="team")
    registry.create(NAMESPACES, {"metadata": {"name": "team"}})
    registry.delete(NAMESPACES, None, "team")
    with pytest.raises(errors.Forbidden, match="being terminated"):
        registry.create(CONFIG_MAPS, config("a"), namespace="team")
    registry.finalize_namespace("team")
    assert registry.find(NAMESPACES, None, "team") is None


def test_an_update_from_an_old_version_is_refused(registry: Registry) -> None:
    first = registry.create(CONFIG_MAPS, config("a", x="1"), namespace="default")
    registry.update(CONFIG_MAPS, {**first, "data": {"x": "2"}})
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        registry.update(CONFIG_MAPS, {**first, "data": {"x": "3"}})
    assert registry.get(CONFIG_MAPS, "default", "a")["data"] == {"x": "2"}


def test_an_update_that_changes_nothing_leaves_the_version(registry: Registry) -> None:
    first = registry.create(DEPLOYMENTS, deployment("web"), namespace="default", manager="me")
    again = registry.update(DEPLOYMENTS, copy.deepcopy(first), manager="other")
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


def test_generation_counts_changes_of_the_spec_and_of_nothing_else(registry: Registry) -> None:
    made = registry.create(DEPLOYMENTS, deployment("web"), namespace="default")
    assert made["metadata"]["generation"] == 1
    labelled = copy.deepcopy(made)
    labelled["metadata"]["labels"] = {"a": "b"}
    labelled = registry.update(DEPLOYMENTS, labelled)
    reported = registry.update_status(DEPLOYMENTS, {**labelled, "status": {"replicas": 1}})
    assert reported["metadata"]["generation"] == 1
    scaled = copy.deepcopy(reported)
    scaled["spec"]["replicas"] = 4
    assert registry.update(DEPLOYMENTS, scaled)["metadata"]["generation"] == 2


def test_status_and_spec_are_written_through_different_doors(registry: Registry) -> None:
    made = registry.create(DEPLOYMENTS, deployment("web"), namespace="default")
    both = copy.deepcopy(made)
    both["spec"]["replicas"] = 7
    both["status"] = {"replicas": 3}
    after_status = registry.update_status(DEPLOYMENTS, both)
    assert after_status["spec"]["replicas"] == 1
    assert after_status["status"] == {"replicas": 3}
    both["metadata"] = after_status["metadata"]
    both["status"] = {"replicas": 99}
    after_spec = registry.update(DEPLOYMENTS, both)
    assert after_spec["spec"]["replicas"] == 7
    assert after_spec["status"] == {"replicas": 3}


def test_a_finalizer_holds_an_object_until_it_is_taken_away(registry: Registry) -> None:
    obj = config("a")
    obj["metadata"]["finalizers"] = ["example.org/hold"]
    registry.create(CONFIG_MAPS, obj, namespace="default")
    marked = registry.delete(CONFIG_MAPS, "default", "a")
    assert marked["metadata"]["deletionTimestamp"]
    assert registry.find(CONFIG_MAPS, "default", "a") is not None
    released = copy.deepcopy(marked)
    released["metadata"]["finalizers"] = []
    registry.update(CONFIG_MAPS, released)
    assert registry.find(CONFIG_MAPS, "default", "a") is None


def test_a_scheduled_pod_goes_gracefully_and_an_unscheduled_one_at_once(registry: Registry) -> None:
    registry.create(PODS, pod("idle"), namespace="default")
    registry.delete(PODS, "default", "idle")
    assert registry.find(PODS, "default", "idle") is None

    registry.create(PODS, pod("busy", nodeName="local"), namespace="default")
    registry.delete(PODS, "default", "busy")
    going = registry.get(PODS, "default", "busy")
    assert going["metadata"]["deletionGracePeriodSeconds"] == 30
    assert going["metadata"]["deletionTimestamp"] == "2026-11-21T12:00:30Z"
    registry.delete(PODS, "default", "busy", grace_seconds=5)
    assert registry.get(PODS, "default", "busy")["metadata"]["deletionGracePeriodSeconds"] == 5
    registry.delete(PODS, "default", "busy", grace_seconds=0)
    assert registry.find(PODS, "default", "busy") is None


def test_a_deletion_meant_for_another_object_of_that_name_is_refused(registry: Registry) -> None:
    registry.create(CONFIG_MAPS, config("a"), namespace="default")
    with pytest.raises(errors.Conflict, match="the UID in the precondition"):
        registry.delete(CONFIG_MAPS, "default", "a", preconditions_uid="another")
    assert registry.find(CONFIG_MAPS, "default", "a") is not None


def test_a_dry_run_answers_and_changes_nothing(registry: Registry) -> None:
    revision = registry.revision
    made = registry.create(CONFIG_MAPS, config("a"), namespace="default", dry_run=True)
    assert made["metadata"]["uid"]
    assert registry.find(CONFIG_MAPS, "default", "a") is None
    assert registry.revision == revision


def test_lists_are_ordered_and_selected_by_label(registry: Registry) -> None:
    for name, tier in (("c", "back"), ("a", "front"), ("b", "back")):
        obj = config(name)
        obj["metadata"]["labels"] = {"tier": tier}
        registry.create(CONFIG_MAPS, obj, namespace="default")
    names = [o["metadata"]["name"] for o in registry.list(CONFIG_MAPS, "default", selector=parse("tier=back"))]
    assert names == ["b", "c"]


def test_everything_and_the_sequence_of_versions_survive_a_restart(tmp_path: Path) -> None:
    first = Registry(Store(tmp_path / "state.sqlite"))
    first.create(CUSTOM_RESOURCE_DEFINITIONS, widgets())
    made = first.create(CONFIG_MAPS, config("a", x="1"), namespace="default")
    first.create(CONFIG_MAPS, config("b"), namespace="default")
    first.delete(CONFIG_MAPS, "default", "b")
    identity = first.get(NAMESPACES, None, "kube-system")["metadata"]["uid"]
    last = first.revision
    first.close()

    second = Registry(Store(tmp_path / "state.sqlite"))
    assert second.get(CONFIG_MAPS, "default", "a") == made
    assert second.find(CONFIG_MAPS, "default", "b") is None
    assert second.get(NAMESPACES, None, "kube-system")["metadata"]["uid"] == identity
    assert second.revision == last
    assert second.catalog.find("example.org", version="v1", plural="widgets") is not None
    with pytest.raises(errors.Gone):
        second.watch(CONFIG_MAPS, since=last - 1)
    second.close()


async def test_a_watch_tells_changes_in_order_and_from_where_it_is_asked(registry: Registry) -> None:
    first = registry.create(CONFIG_MAPS, config("a"), namespace="default")
    since = int(first["metadata"]["resourceVersion"])
    registry.update(CONFIG_MAPS, {**first, "data": {"x": "1"}})
    registry.create(CONFIG_MAPS, config("other"), namespace="kube-system")
    with registry.watch(CONFIG_MAPS, "default", since=since) as watch:
        registry.delete(CONFIG_MAPS, "default", "a")
        told = [await anext(watch), await anext(watch)]
    assert [change.type for change in told] == ["MODIFIED", "DELETED"]
    assert told[0].obj["data"] == {"x": "1"}
    assert told[1].revision == registry.revision


async def test_a_watch_from_before_the_compaction_is_refused(registry: Registry) -> None:
    made = registry.create(CONFIG_MAPS, config("a"), namespace="default")
    registry.update(CONFIG_MAPS, {**made, "data": {"x": "1"}})
    registry.compact()
    with pytest.raises(errors.Gone, match="too old resource version"):
        registry.watch(CONFIG_MAPS, since=int(made["metadata"]["resourceVersion"]))


async def test_a_watch_that_falls_behind_is_ended_with_gone(registry: Registry, monkeypatch: Any) -> None:
    monkeypatch.setattr("clusters.embedded.journal.BACKLOG", 3)
    with registry.watch(CONFIG_MAPS) as watch:
        for name in "abcd":
            registry.create(CONFIG_MAPS, config(name), namespace="default")
        await registry.committed()
        with pytest.raises(errors.Gone):
            await watch.batch()


async def test_subscribers_hear_of_their_kinds_after_the_commit(registry: Registry) -> None:
    heard: list[str] = []
    stop = registry.subscribe(lambda change: heard.append(change.obj["metadata"]["name"]), PODS)
    registry.create(PODS, pod("a"), namespace="default")
    registry.create(CONFIG_MAPS, config("b"), namespace="default")
    assert heard == []
    await registry.committed()
    assert heard == ["a"]
    stop()
    registry.create(PODS, pod("c"), namespace="default")
    await registry.committed()
    assert heard == ["a"]


def test_history_is_bounded() -> None:
    journal = Journal(start=0, size=2)
    registry = Registry(Store(":memory:"))
    stored = [registry.stored(NAMESPACES, None, name) for name in ("default", "kube-public", "kube-system")]
    from clusters.embedded.journal import Change

    journal.publish([Change("ADDED", "namespaces", "", item) for item in stored if item])
    with pytest.raises(errors.Gone):
        journal.watch("namespaces", namespace=None, since=0)


def test_admission_may_complete_or_refuse_an_object(registry: Registry) -> None:
    def give_address(admission: Admission) -> None:
        if admission.resource == SERVICES and admission.operation == "CREATE":
            admission.obj["spec"].setdefault("clusterIP", "127.16.128.1")

    registry.admission.append(give_address)
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    assert registry.create(SERVICES, service, namespace="default")["spec"]["clusterIP"] == "127.16.128.1"


def test_the_same_event_again_counts_up(registry: Registry) -> None:
    owner = registry.create(PODS, pod("a"), namespace="default")
    for _ in range(3):
        registry.record_event(owner, type="Warning", reason="BackOff", message="again", component="kubelet")
    (event,) = registry.list(EVENTS, "default")
    assert event["count"] == 3
    assert event["involvedObject"]["uid"] == owner["metadata"]["uid"]


def test_events_are_forgotten_after_an_hour() -> None:
    moments = [NOON]
    registry = Registry(Store(":memory:"), clock=lambda: moments[0])
    owner = registry.create(PODS, pod("a"), namespace="default")

    def tell(message: str) -> None:
        registry.record_event(owner, type="Normal", reason="Told", message=message, component="test")

    tell("first")
    moments[0] += timedelta(minutes=61)
    tell("second")
    assert [event["message"] for event in registry.list(EVENTS)] == ["second"]


def test_a_definition_brings_its_kind_and_takes_it_along(registry: Registry) -> None:
    made = registry.create(CUSTOM_RESOURCE_DEFINITIONS, widgets())
    assert {c["type"]: c["status"] for c in made["status"]["conditions"]}["Established"] == "True"
    resource = registry.catalog.find("example.org", version="v1", plural="widgets")
    assert resource is not None
    body = {"metadata": {"name": "w"}, "spec": {"size": 2, "unheard": True}}
    widget = registry.create(resource, body, namespace="default")
    assert widget["spec"] == {"size": 2, "color": "blue"}
    with pytest.raises(errors.Invalid, match=r"spec\.size: Invalid value: 0: spec\.size in body should be"):
        registry.create(resource, {"metadata": {"name": "x"}, "spec": {"size": 0}}, namespace="default")
    with pytest.raises(errors.Invalid, match=r"spec\.size: Required value"):
        registry.create(resource, {"metadata": {"name": "x"}, "spec": {}}, namespace="default")
    registry.delete(CUSTOM_RESOURCE_DEFINITIONS, None, "widgets.example.org")
    assert registry.catalog.find("example.org", version="v1", plural="widgets") is None
    assert registry.list(resource) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"selector": {"matchLabels": {"app": "no"}}}, "`selector` does not match template `labels`"),
        ({"replicas": -1}, r"spec\.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"strategy": {"type": "Blue"}}, r'spec\.strategy\.type: Unsupported value: "Blue"'),
    ],
)
def test_a_broken_deployment_is_refused_with_the_field(registry: Registry, change: dict[str, Any], words: str) -> None:
    obj = deployment("web")
    obj["spec"] |= change
    with pytest.raises(errors.Invalid, match=words):
        registry.create(DEPLOYMENTS, obj, namespace="default")
    assert registry.list(DEPLOYMENTS) == []


def test_a_value_of_the_wrong_type_is_refused_as_go_would(registry: Registry) -> None:
    obj = deployment("web")
    obj["spec"]["replicas"] = "three"
    with pytest.raises(errors.BadRequest, match="cannot unmarshal string into Go struct field"):
        registry.create(DEPLOYMENTS, obj, namespace="default")


# --- What was -----------------------------------------------------------------------------------------


def test_a_kind_is_seen_as_it_was_at_a_revision(registry: Registry) -> None:
    for name in ("a", "b"):
        registry.create(CONFIG_MAPS, config(name), namespace="default")
    then = registry.revision
    registry.update(CONFIG_MAPS, {**registry.get(CONFIG_MAPS, "default", "a"), "data": {"word": "new"}})
    registry.update(CONFIG_MAPS, {**registry.get(CONFIG_MAPS, "default", "a"), "data": {"word": "newer"}})
    registry.delete(CONFIG_MAPS, "default", "b")
    registry.create(CONFIG_MAPS, config("b"), namespace="default")
    registry.create(CONFIG_MAPS, config("c"), namespace="default")

    def seen(revision: int | None) -> dict[str, str]:
        found = registry.all_stored(CONFIG_MAPS, "default", revision=revision)
        return {each.obj["metadata"]["name"]: each.obj["metadata"]["resourceVersion"] for each in found}

    assert seen(then) == {"a": str(then - 1), "b": str(then)}
    assert list(seen(then + 3)) == ["a"]
    assert seen(registry.revision) == seen(None)
    registry.compact()
    with pytest.raises(errors.Gone):
        seen(then)
