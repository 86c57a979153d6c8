"""Watches over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from clusters.embedded.resources import CONFIG_MAPS as CONFIG_MAP_KIND
from tests.clusters.embedded.server.manifests import CONFIG_MAPS, DEFINITIONS, config, definition


@asynccontextmanager
async def watching(cluster: Any, query: str, *, path: str = CONFIG_MAPS, **headers: str) -> AsyncIterator[Any]:
    """A function returning the next (type, object) of a watch; None at its end."""
    headers = {"Authorization": f"Bearer {cluster.token}"} | headers
    url = f"{cluster.url}{path}?watch=true&{query}"
    async with asyncio.timeout(20), cluster.session.get(url, headers=headers) as response:

        async def following() -> tuple[str, Any] | None:
            line = await response.content.readline()
            if not line:
                return None
            event = json.loads(line)
            return event["type"], event["object"]

        yield following


async def relabel(cluster: Any, name: str, labels: dict[str, str | None]) -> None:
    kind = "application/merge-patch+json"
    body = {"metadata": {"labels": labels}}
    status, _ = await cluster.ask("PATCH", f"{CONFIG_MAPS}/{name}", body, kind=kind)
    assert status == 200


async def test_a_watch_goes_on_where_a_list_ended(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("before"))
    listed = await cluster.get(CONFIG_MAPS)
    await cluster.post(CONFIG_MAPS, config("between"))
    async with watching(cluster, f"resourceVersion={listed['metadata']['resourceVersion']}") as following:
        await cluster.post(CONFIG_MAPS, config("after"))
        told = [await following(), await following()]
    assert [(kind, obj["metadata"]["name"]) for kind, obj in told] == [("ADDED", "between"), ("ADDED", "after")]


async def test_without_a_version_what_exists_comes_first(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a"))
    async with watching(cluster, "") as following:
        assert (await following())[1]["metadata"]["name"] == "a"
        await cluster.ask("DELETE", f"{CONFIG_MAPS}/a")
        kind, obj = await following()
    assert (kind, obj["metadata"]["name"]) == ("DELETED", "a")


async def test_an_object_enters_and_leaves_the_set_a_selector_names(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a"))
    async with watching(cluster, "labelSelector=x=y") as following:
        await relabel(cluster, "a", {"x": "y"})
        await relabel(cluster, "a", {"x": "y", "more": "1"})
        await relabel(cluster, "a", {"x": None})
        await relabel(cluster, "a", {"more": "2"})
        await cluster.post(CONFIG_MAPS, config("b", labels={"x": "y"}))
        kinds = [(await following())[0] for _ in range(4)]
    assert kinds == ["ADDED", "MODIFIED", "DELETED", "ADDED"]


async def test_a_version_that_was_compacted_away_is_answered_with_410(cluster: Any) -> None:
    made = await cluster.post(CONFIG_MAPS, config("a"))
    await relabel(cluster, "a", {"x": "y"})
    cluster.registry.compact()
    async with watching(cluster, f"resourceVersion={made['metadata']['resourceVersion']}") as following:
        kind, status = await following()
        assert (kind, status["code"], status["reason"]) == ("ERROR", 410, "Expired")
        assert await following() is None


async def test_a_watch_ends_when_its_time_is_over_and_tells_how_far_it_was(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a"))
    query = f"resourceVersion={cluster.registry.revision}&timeoutSeconds=1&allowWatchBookmarks=true"
    async with watching(cluster, query) as following:
        kind, obj = await following()
        assert (kind, obj["metadata"]["resourceVersion"]) == ("BOOKMARK", str(cluster.registry.revision))
        assert await following() is None


async def test_initial_events_end_with_a_marked_bookmark(cluster: Any) -> None:
    await cluster.post(CONFIG_MAPS, config("a"))
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    async with watching(cluster, query) as following:
        assert (await following())[0] == "ADDED"
        kind, obj = await following()
    assert kind == "BOOKMARK"
    assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_closing_the_server_ends_watches(cluster: Any) -> None:
    async with watching(cluster, f"resourceVersion={cluster.registry.revision}") as following:
        waiting = asyncio.ensure_future(following())
        await asyncio.sleep(0)
        await cluster.server.close()
        assert await waiting is None


async def test_those_who_watch_one_kind_in_several_forms_are_each_told_in_their_own(cluster: Any) -> None:
    await cluster.post(DEFINITIONS, definition())
    group, rest = "/apis/example.org", "namespaces/default/widgets"
    since = f"resourceVersion={cluster.registry.revision}"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with (
        watching(cluster, since, path=f"{group}/v1/{rest}") as first,
        watching(cluster, since, path=f"{group}/v1beta1/{rest}") as second,
        watching(cluster, since, path=f"{group}/v1/{rest}") as third,
        watching(cluster, since, path=f"{group}/v1/{rest}", Accept=table) as rows,
    ):
        widget = {"metadata": {"name": "a"}, "spec": {"size": 1}}
        made = await cluster.post(f"{group}/v1beta1/{rest}", widget)
        told = [await follow() for follow in (first, second, third)]
        shown = await rows()
    versions = ["example.org/v1", "example.org/v1beta1", "example.org/v1"]
    assert [(kind, obj["apiVersion"]) for kind, obj in told] == [("ADDED", version) for version in versions]
    assert made == told[1][1]
    assert told[0][1] == told[2][1] == {**made, "apiVersion": "example.org/v1"}
    assert shown[1]["kind"] == "Table"
    assert shown[1]["rows"][0]["object"]["metadata"] == made["metadata"]


async def test_in_a_flood_every_watcher_is_told_of_every_change_once_and_in_order(cluster: Any) -> None:
    bursts, size = 10, 12
    async with AsyncExitStack() as watches:
        query = f"resourceVersion={cluster.registry.revision}"
        following = [await watches.enter_async_context(watching(cluster, query)) for _ in range(5)]
        for burst in range(bursts):  # each burst is one turn of the loop, and lies in one piece
            for number in range(size):
                cluster.registry.create(CONFIG_MAP_KIND, config(f"{burst:02}-{number:02}"), namespace="default")
            await cluster.registry.committed()
        await cluster.post(CONFIG_MAPS, config("last"))
        told = [[(await follow())[1] for _ in range(bursts * size + 1)] for follow in following]
    names = [f"{burst:02}-{number:02}" for burst in range(bursts) for number in range(size)]
    for objects in told:
        assert [obj["metadata"]["name"] for obj in objects] == [*names, "last"]
        revisions = [int(obj["metadata"]["resourceVersion"]) for obj in objects]
        assert revisions == sorted(set(revisions))


async def test_a_watch_that_is_silent_is_told_how_far_it_is_and_goes_on(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusters.embedded.server.watching._BOOKMARK_SECONDS", 0.05)
    query = f"resourceVersion={cluster.registry.revision}"
    async with (
        watching(cluster, f"{query}&allowWatchBookmarks=true") as told,
        watching(cluster, query) as silent,
    ):
        assert [(await told())[0] for _ in range(3)] == ["BOOKMARK"] * 3
        await cluster.post(CONFIG_MAPS, config("a"))
        kind, obj = await silent()
        while (event := await told())[0] == "BOOKMARK":
            pass
    assert (kind, obj["metadata"]["name"]) == ("ADDED", "a")
    assert event == ("ADDED", obj)
