"""When changes become durable, and when they are told: once per turn of the event loop, in this order.

    add, add, add ... | end of the turn: one transaction -> waiting replies -> watches and subscribers

Nobody is told of what is not on disk. A disk that refuses is told to those who wait, and tried again
every second with everything that has gathered. Without a running event loop each change is its own turn.
"""

import asyncio
import logging
import sqlite3
from typing import Final

from clusters.embedded.errors import ApiError
from clusters.embedded.journal import Change, Journal
from clusters.embedded.store import Store

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0


class Commits:
    def __init__(self, store: Store, *, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._pending: list[Change] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._scheduled = False

    def add(self, change: Change) -> None:
        """A change that was put into the store and waits for this turn's commit."""
        self._pending.append(change)
        self._schedule(0)

    async def done(self) -> None:
        """Wait until everything added so far is on disk. Raises ApiError when the disk refuses."""
        if self._pending:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            await future

    def flush(self) -> None:
        self._scheduled = False
        if not self._pending:
            return
        try:
            self._store.commit(revision=self._pending[-1].revision)
        except sqlite3.Error as error:
            log.exception("Changes could not be written to disk; trying again")
            self._answer(ApiError(f"the cluster's disk refused the change: {error}"))
            self._schedule(RETRY_SECONDS)
            return
        changes, self._pending = self._pending, []
        self._answer(None)
        self._journal.publish(changes)

    def _schedule(self, delay: float) -> None:
        if self._scheduled:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if not delay:
                self.flush()
            return
        self._scheduled = True
        if delay:
            loop.call_later(delay, self.flush)
        else:
            loop.call_soon(self.flush)

    def _answer(self, error: Exception | None) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
