"""The objects on disk: one SQLite file, write-ahead log.

Everything also lives in memory (registry.py); the disk is read once, at start. Writes are gathered
and become durable together, in one transaction, at `commit`, which the registry calls once per turn of
the event loop, before anyone is told of the change. A commit that fails (a full disk) leaves nothing
behind and keeps the writes for the next try. synchronous=NORMAL: a killed process loses
nothing that was committed; a power cut may lose the last moments, as on any database set so.

The last resourceVersion is kept beside the objects: deletions use numbers too, and a number must
never be given twice.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from clusters.embedded.private_files import make_private

_TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_DELETE = "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?"

Place = tuple[str, str, str]  # resource key, namespace, name


class Store:
    """`path` is a file, or ":memory:" for tests that need no restart."""

    def __init__(self, path: Path | str) -> None:
        if isinstance(path, Path):  # Secrets are in it; SQLite gives its other files the same mode
            make_private(path)
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.executescript(_TABLES)
        self._waiting: dict[Place, bytes | None] = {}  # the last state of each object; None is gone

    def revision(self) -> int:
        row = self._database.execute("SELECT value FROM facts WHERE name = 'revision'").fetchone()
        return int(row[0]) if row else 0

    def objects(self) -> Iterator[tuple[str, bytes]]:
        """(resource key, JSON) of everything."""
        yield from self._database.execute("SELECT resource, body FROM objects")

    def put(self, resource: str, *, namespace: str, name: str, body: bytes) -> None:
        self._waiting[resource, namespace, name] = body

    def remove(self, resource: str, *, namespace: str, name: str) -> None:
        self._waiting[resource, namespace, name] = None

    def commit(self, *, revision: int) -> None:
        """Make everything since the last commit durable, `revision` being the last number used.

        Raises sqlite3.Error; the writes are then kept and tried again with the next commit.
        """
        written = [(*place, body) for place, body in self._waiting.items() if body is not None]
        removed = [place for place, body in self._waiting.items() if body is None]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", written)
            self._database.executemany(_DELETE, removed)
            self._database.execute("INSERT OR REPLACE INTO facts VALUES ('revision', ?)", (str(revision),))
            self._database.execute("COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        self._waiting.clear()

    def close(self) -> None:
        self._database.close()
