"""The disk: what is committed is there, and a disk that refuses is tried again."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from clusters.embedded.errors import ApiError
from clusters.embedded.registry import Registry
from clusters.embedded.resources import CONFIG_MAPS
from clusters.embedded.store import Store


def config(name: str, size: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"x": "x" * size}}


def names(path: Path) -> list[str]:
    """What another process sees in the file."""
    with sqlite3.connect(path) as database:
        query = "SELECT name FROM objects WHERE resource = 'configmaps' ORDER BY name"
        found = [name for (name,) in database.execute(query)]
    database.close()
    return found


async def test_a_write_is_on_disk_when_it_is_acknowledged(tmp_path: Path) -> None:
    registry = Registry(Store(tmp_path / "state.sqlite"))
    registry.create(CONFIG_MAPS, config("a"), namespace="default")
    assert names(tmp_path / "state.sqlite") == []
    await registry.committed()
    assert names(tmp_path / "state.sqlite") == ["a"]
    registry.create(CONFIG_MAPS, config("b"), namespace="default")
    registry.delete(CONFIG_MAPS, "default", "a")
    await registry.committed()
    assert names(tmp_path / "state.sqlite") == ["b"]
    registry.close()


async def test_a_full_disk_is_told_to_the_writer_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusters.embedded.commits.RETRY_SECONDS", 0.01)
    store = Store(tmp_path / "state.sqlite")
    registry = Registry(store)
    await registry.committed()
    (pages,) = store._database.execute("PRAGMA page_count").fetchone()
    store._database.execute(f"PRAGMA max_page_count={pages}")
    with registry.watch(CONFIG_MAPS) as watch:
        registry.create(CONFIG_MAPS, config("big", 100_000), namespace="default")
        with pytest.raises(ApiError, match="disk refused the change"):
            await registry.committed()
        assert names(tmp_path / "state.sqlite") == []
        store._database.execute("PRAGMA max_page_count=1073741823")
        async with asyncio.timeout(10):
            told = await anext(watch)
    assert told.obj["metadata"]["name"] == "big"
    assert names(tmp_path / "state.sqlite") == ["big"]
    registry.close()


async def test_a_subscriber_that_fails_does_not_silence_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = Registry(Store(tmp_path / "state.sqlite"))
    heard: list[str] = []

    def fail(_change: object) -> None:
        raise ValueError("broken on purpose")

    registry.subscribe(fail, CONFIG_MAPS)
    registry.subscribe(lambda change: heard.append(change.type), CONFIG_MAPS)
    registry.create(CONFIG_MAPS, config("a"), namespace="default")
    await registry.committed()
    assert heard == ["ADDED"]
    assert "broken on purpose" in caplog.text
    registry.close()
