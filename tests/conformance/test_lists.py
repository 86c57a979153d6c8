"""Lists in pages and of older versions: one moment is seen, whatever is written meanwhile."""

import pytest

from tests.conformance.conftest import Cluster
from tests.conformance.world import Obj, Place, config, names

MINE = {"labelSelector": "mine=yes"}


@pytest.fixture
def five(place: Place) -> Place:
    """ConfigMaps a to e."""
    for name in "abcde":
        place.caller.create(place.path("configmaps"), config(name, labels={"mine": "yes"}, word="old"))
    return place


def write_much(place: Place) -> None:
    """Make, change, unlabel and delete behind a reader's back."""
    path = place.path("configmaps")
    place.caller.create(path, config("b2", labels={"mine": "yes"}))
    place.caller.patch(f"{path}/c", {"data": {"word": "new"}})
    place.caller.patch(f"{path}/e", {"metadata": {"labels": {"mine": "no"}}})
    place.caller.delete(f"{path}/d")


def token_of(found: Obj) -> dict[str, str]:
    return {"continue": found["metadata"]["continue"]}


def test_all_pages_of_a_list_show_the_moment_of_the_first(five: Place) -> None:
    path = five.path("configmaps")
    first = five.caller.get(path, limit=2, **MINE)
    assert names(first) == ["a", "b"]
    write_much(five)
    second = five.caller.get(path, limit=2, **MINE, **token_of(first))
    assert names(second) == ["c", "d"]
    assert [item["data"]["word"] for item in second["items"]] == ["old", "old"]
    last = five.caller.get(path, limit=2, **MINE, **token_of(second))
    assert names(last) == ["e"]
    assert not last["metadata"].get("continue")
    versions = {page["metadata"]["resourceVersion"] for page in (first, second, last)}
    assert len(versions) == 1
    assert names(five.caller.get(path, **MINE)) == ["a", "b", "b2", "c"]


def test_a_watch_from_the_version_of_a_paged_list_misses_nothing(five: Place) -> None:
    path = five.path("configmaps")
    first = five.caller.get(path, limit=2, **MINE)
    write_much(five)
    rest = five.caller.get(path, **MINE, **token_of(first))
    seen = {item["metadata"]["name"]: item["data"]["word"] for page in (first, rest) for item in page["items"]}
    with five.caller.watch(path, resourceVersion=rest["metadata"]["resourceVersion"], **MINE) as events:
        for _ in range(4):
            event = next(events)
            name = event["object"]["metadata"]["name"]
            if event["type"] == "DELETED":
                del seen[name]
            else:
                seen[name] = event["object"]["data"].get("word", "") if event["object"].get("data") else ""
    assert seen == {"a": "old", "b": "old", "b2": "", "c": "new"}


def test_an_exact_version_is_listed_as_it_was(five: Place) -> None:
    path = five.path("configmaps")
    then = five.caller.get(path, **MINE)
    write_much(five)
    exact = {"resourceVersion": then["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
    assert five.caller.get(path, **exact, **MINE)["items"] == then["items"]


def test_a_page_of_a_moment_that_is_forgotten_is_410_with_a_way_to_read_on(cluster: Cluster, five: Place) -> None:
    path = five.path("configmaps")
    first = five.caller.get(path, limit=2, **MINE)
    write_much(five)
    cluster.compact()
    found = five.caller.ask("GET", path, query={"limit": 2, **MINE, **token_of(first)})
    assert (found.code, found.body["reason"]) == (410, "Expired")
    assert found.message.startswith("The provided continue parameter is too old to display a consistent list result.")
    rest = five.caller.get(path, limit=10, **MINE, **token_of(found.body))
    assert names(rest) == ["b2", "c"]  # as things are by now
    exact = {"resourceVersion": first["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
    found = five.caller.ask("GET", path, query=exact)
    assert (found.code, found.body["reason"]) == (410, "Expired")
    assert found.message == "The resourceVersion for the provided list is too old."


def test_a_watch_from_before_a_compaction_is_410_and_a_new_list_goes_on(cluster: Cluster, five: Place) -> None:
    path = five.path("configmaps")
    old = five.caller.get(path)["metadata"]["resourceVersion"]
    write_much(five)
    cluster.compact()
    with five.caller.watch(path, resourceVersion=old) as events:
        event = next(events)
        assert list(events) == []
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    listed = five.caller.get(path)["metadata"]["resourceVersion"]
    with five.caller.watch(path, resourceVersion=listed) as events:
        five.caller.delete(f"{path}/a")
        event = next(events)
    assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "a")


def test_a_version_long_gone_is_410(cluster: Cluster, place: Place) -> None:
    """Version 1 is forgotten on every cluster that is older than a few minutes."""
    if cluster.embedded:
        cluster.compact()
    with place.caller.watch(place.path("configmaps"), resourceVersion="1", timeoutSeconds=5) as events:
        event = next(events, None)
    if event is None or event["type"] != "ERROR":
        pytest.skip("the cluster still knows its first version")
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert "too old resource version: 1 (" in event["object"]["message"]


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ({"continue": "nonsense"}, 400, "continue key is not valid"),
        ({"resourceVersionMatch": "Exact"}, 422, "is forbidden unless resourceVersion is provided"),
        ({"resourceVersionMatch": "Older", "resourceVersion": "1"}, 422, 'Unsupported value: "Older"'),
    ],
)
def test_a_list_is_asked_for_properly_or_refused(place: Place, query: dict[str, str], code: int, says: str) -> None:
    found = place.caller.ask("GET", place.path("configmaps"), query=query)
    assert found.code == code
    assert says in found.message


def test_a_page_is_not_asked_for_with_a_version_of_its_own(five: Place) -> None:
    first = five.caller.get(five.path("configmaps"), limit=2, **MINE)
    query = {**token_of(first), "resourceVersion": first["metadata"]["resourceVersion"]}
    found = five.caller.ask("GET", five.path("configmaps"), query=query)
    assert found.code == 400
    assert found.message == "specifying resource version is not allowed when using continue"
