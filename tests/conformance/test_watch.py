"""Watches: every change once and in order, from any point still remembered."""

import signal
import threading
import time
from contextlib import suppress

import pytest
import urllib3

from tests.conformance.conftest import Cluster, EmbeddedCluster, connect
from tests.conformance.world import Obj, Place, config, names


def test_changes_come_in_order_with_the_state_after_each(place: Place) -> None:
    caller, path = place.caller, place.path("configmaps")
    since = caller.get(path)["metadata"]["resourceVersion"]
    caller.create(path, config("one", a="1"))
    caller.patch(f"{path}/one", {"data": {"a": "2"}})
    caller.delete(f"{path}/one")
    with caller.watch(path, resourceVersion=since, fieldSelector="metadata.name=one") as events:
        found = [next(events) for _ in range(3)]
    assert [event["type"] for event in found] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event["object"]["data"] for event in found] == [{"a": "1"}, {"a": "2"}, {"a": "2"}]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in found]
    assert versions == sorted(set(versions))


def test_without_a_version_what_exists_comes_first(place: Place) -> None:
    caller, path = place.caller, place.path("secrets")
    caller.create(path, {"metadata": {"name": "one"}})
    with caller.watch(path) as events:
        first = next(events)
        caller.create(path, {"metadata": {"name": "two"}})
        second = next(events)
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in (first, second)] == [
        ("ADDED", "one"),
        ("ADDED", "two"),
    ]


def test_with_a_selector_an_object_enters_and_leaves_the_set(place: Place) -> None:
    caller, path = place.caller, place.path("configmaps")
    caller.create(path, config("one"))
    since = caller.get(path)["metadata"]["resourceVersion"]
    for colour in ("red", "blue"):
        caller.patch(f"{path}/one", {"metadata": {"labels": {"colour": colour}}})
    with caller.watch(path, resourceVersion=since, labelSelector="colour=red") as events:
        found = [next(events)["type"] for _ in range(2)]
    assert found == ["ADDED", "DELETED"]


def test_bookmarks_tell_how_far_one_has_come(place: Place) -> None:
    caller, path = place.caller, place.path("configmaps")
    since = caller.get(path)["metadata"]["resourceVersion"]
    caller.create(place.path("secrets"), {"metadata": {"name": "elsewhere"}})
    query = {"resourceVersion": since, "allowWatchBookmarks": "true", "labelSelector": "mine=yes"}
    with caller.watch(path, timeoutSeconds=4, **query) as events:
        found = list(events)
    assert {event["type"] for event in found} == {"BOOKMARK"}  # how many is the server's affair
    bookmark = found[-1]
    assert bookmark["object"]["kind"] == "ConfigMap"
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= int(since)
    assert "data" not in bookmark["object"]


def test_a_watch_can_begin_with_what_exists_and_say_where_that_ends(place: Place) -> None:
    caller, path = place.caller, place.path("configmaps")
    caller.create(path, config("one", labels={"mine": "yes"}))
    query = {"watch": "true", "labelSelector": "mine=yes", "timeoutSeconds": 5}
    query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    with caller.answer(path, **query) as (code, events):
        if code == 422:
            pytest.skip("the cluster's feature gate WatchList is off")
        first, second = next(events), next(events)
    assert first["type"] == "ADDED"
    assert second["type"] == "BOOKMARK"
    assert second["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(second["object"]["metadata"]["resourceVersion"]) >= int(first["object"]["metadata"]["resourceVersion"])


def test_a_watch_ends_when_its_time_is_over(place: Place) -> None:
    began = time.monotonic()
    with place.caller.watch(place.path("configmaps"), resourceVersion="0", timeoutSeconds=1) as events:
        for _ in events:
            continue
    assert 0.5 < time.monotonic() - began < 5


def test_one_watch_sees_what_many_write_at_once(place: Place) -> None:
    caller, path = place.caller, place.path("configmaps")
    since = caller.get(path)["metadata"]["resourceVersion"]

    def write(writer: int) -> None:
        for number in range(10):
            caller.create(path, config(f"c-{writer}-{number}", labels={"mine": "yes"}))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for each in writers:
        each.start()
    with caller.watch(path, resourceVersion=since, labelSelector="mine=yes") as events:
        seen = {next(events)["object"]["metadata"]["name"] for _ in range(40)}
    for each in writers:
        each.join()
    assert seen == set(names(caller.get(path, labelSelector="mine=yes")))


def test_a_version_of_the_future_is_waited_for_or_refused_in_time(cluster: Cluster, place: Place) -> None:
    now = int(place.caller.get(place.path("configmaps"))["metadata"]["resourceVersion"])
    query = {"resourceVersion": now + 10**9, "resourceVersionMatch": "NotOlderThan", "timeoutSeconds": 1}
    found = place.caller.ask("GET", place.path("configmaps"), query=query)
    assert (found.code, found.body["reason"]) == (504, "Timeout")
    assert "Too large resource version" in found.message


def test_nothing_that_was_answered_is_lost_when_the_server_is_killed(restartable: EmbeddedCluster) -> None:
    caller = connect(restartable.kubeconfig)
    path = "/api/v1/namespaces/default/configmaps"
    since = caller.get(path)["metadata"]["resourceVersion"]
    seen: list[Obj] = []
    with caller.watch(path, resourceVersion=since) as events:
        made = [caller.create(path, config(f"c-{number}")) for number in range(5)]
        restartable.stop(signal.SIGKILL)
        with suppress(urllib3.exceptions.HTTPError):
            seen += (event["object"] for event in events)
    restartable.start()
    assert seen == made[: len(seen)]
    kept = caller.get(path)
    assert [each for each in kept["items"] if each["metadata"]["name"].startswith("c-")] == made
    assert int(kept["metadata"]["resourceVersion"]) >= int(made[-1]["metadata"]["resourceVersion"])
    with caller.watch(path, resourceVersion=kept["metadata"]["resourceVersion"]) as events:
        later = caller.create(path, config("later"))
        assert next(events)["object"] == later
    assert int(later["metadata"]["resourceVersion"]) > int(kept["metadata"]["resourceVersion"])


def test_a_watch_goes_on_after_the_server_was_gone(restartable: EmbeddedCluster) -> None:
    caller = connect(restartable.kubeconfig)
    path = "/api/v1/namespaces/default/configmaps"
    made = caller.create(path, config("one", a="1"))
    listed = caller.get(path)["metadata"]["resourceVersion"]
    with caller.watch(path, resourceVersion=listed) as events:
        restartable.stop()
        assert list(events) == []  # ended in an orderly way
    restartable.start()
    assert caller.get(f"{path}/one") == made
    now = caller.get(path)["metadata"]["resourceVersion"]
    assert int(now) >= int(listed)
    with caller.watch(path, resourceVersion=now) as events:
        caller.patch(f"{path}/one", {"data": {"a": "2"}})
        event = next(event for event in events if event["object"]["metadata"]["name"] == "one")
    assert event["object"]["data"] == {"a": "2"}
    assert int(event["object"]["metadata"]["resourceVersion"]) > int(now)


def test_a_version_that_is_forgotten_is_410_expired(restartable: EmbeddedCluster) -> None:
    """A restart forgets here; on a real cluster etcd's compaction does, every five minutes."""
    caller = connect(restartable.kubeconfig)
    path = "/api/v1/namespaces/default/configmaps"
    old = caller.get(path)["metadata"]["resourceVersion"]
    caller.create(path, config("one"))
    restartable.stop()
    restartable.start()
    with caller.watch(path, resourceVersion=old) as events:
        event = next(events)
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert "too old resource version" in event["object"]["message"]
