"""/logs/<stream id>: the lines of one stream, every line exactly once.

    page -> {"after": n}      "I have everything up to n"; the first message, again after every reconnect
    page <- {"type": "lines", "lines": [[seq, time, source, level, text], ...], "closed": false}

Lines come from the store, never from a message: a message only wakes the pump, so it does not matter if one is lost.
A page that has nothing yet gets the newest 5,000; it keeps no more.
"""

import asyncio
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from studio.live import group_of, may_listen
from studio.models import LogLine, LogStream
from studio.services.logs import read_lines
from studio.sockets.session import NOT_FOUND, UNAUTHENTICATED, person_group, still_signed_in

SHOWN = 5_000
BATCH = 1_000


class LogSocket(AsyncJsonWebsocketConsumer):
    """Pumps the store's lines to one page."""

    async def connect(self) -> None:
        self.pump: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()
        self.stream_id = int(self.scope["url_route"]["kwargs"]["stream_id"])
        self.topic = f"log-{self.stream_id}"
        await self.accept()
        user = self.scope["user"]
        if not user.is_authenticated or not await database_sync_to_async(may_listen)(user, self.topic):
            await self.close(NOT_FOUND if user.is_authenticated else UNAUTHENTICATED)
            return
        await self.channel_layer.group_add(group_of(self.topic), self.channel_name)
        await self.channel_layer.group_add(person_group(user.pk), self.channel_name)

    async def receive_json(self, content: Any, **_: Any) -> None:
        after = content.get("after") if isinstance(content, dict) else None
        if isinstance(after, int) and self.pump is None:
            self.pump = asyncio.create_task(self._pump(after))
            self.pump.add_done_callback(self._pump_ended)

    async def _pump(self, after: int) -> None:
        first = True
        while True:
            self.changed.clear()
            rows, closed = await database_sync_to_async(self._read)(after)
            if rows or first or closed:
                await self.send_json({"type": "lines", "lines": [_line(row) for row in rows], "closed": closed})
            if closed:
                return
            first = False
            after = rows[-1].seq if rows else after
            if len(rows) < BATCH:
                await self.changed.wait()

    def _read(self, after: int) -> tuple[list[LogLine], bool]:
        stream = LogStream.objects.get(pk=self.stream_id)
        rows = read_lines(stream, after=max(after, stream.last_seq - SHOWN), limit=BATCH)
        return rows, stream.closed_at is not None and len(rows) < BATCH

    def _pump_ended(self, pump: asyncio.Task[None]) -> None:
        if not pump.cancelled() and (error := pump.exception()):
            raise error

    async def live_changed(self, _: dict[str, Any]) -> None:
        self.changed.set()

    async def person_changed(self, _: dict[str, Any]) -> None:
        may = await database_sync_to_async(may_listen)(self.scope["user"], self.topic)
        if not may or not await database_sync_to_async(still_signed_in)(self.scope):
            await self.close(NOT_FOUND)

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels' signature
        if self.pump is not None:
            self.pump.cancel()
            with suppress(asyncio.CancelledError):
                await self.pump
        for group in (group_of(self.topic), person_group(self.scope["user"].pk or 0)):
            await self.channel_layer.group_discard(group, self.channel_name)


def _line(row: LogLine) -> list[Any]:
    return [row.seq, row.at.isoformat(timespec="milliseconds"), row.source, row.level, row.text]
