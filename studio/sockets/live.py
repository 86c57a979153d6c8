"""/live: one socket per page.

    page -> {"subscribe": ["endpoint-12", ...]}            the whole list, every time
    page <- {"type": "subscribed", "topics": [...]}        what it may hear, and does from now on
    page <- {"type": "changed", "topic": "endpoint-12"}    ask for your region again

Rights are looked at again when a membership changes or the person signs out. Who may no longer hear all they heard is
hung up on, and their page loads itself again: it shows what they can no longer see.
"""

from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User

from studio.live import group_of, may_listen
from studio.sockets.session import NOT_FOUND, UNAUTHENTICATED, person_group, still_signed_in

MOST_TOPICS = 200


class LiveSocket(AsyncJsonWebsocketConsumer):
    """Tells a page which of its topics changed."""

    async def connect(self) -> None:
        self.topics: set[str] = set()
        user = self.scope["user"]
        if not isinstance(user, User) and not user.is_authenticated:
            await self.accept()
            await self.close(UNAUTHENTICATED)
            return
        await self.channel_layer.group_add(person_group(user.pk), self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **_: Any) -> None:
        wanted = content.get("subscribe") if isinstance(content, dict) else None
        if isinstance(wanted, list):
            await self._listen_to({topic for topic in wanted[:MOST_TOPICS] if isinstance(topic, str)})

    async def _listen_to(self, wanted: set[str]) -> None:
        allowed = await database_sync_to_async(self._allowed)(wanted)
        for topic in self.topics - allowed:
            await self.channel_layer.group_discard(group_of(topic), self.channel_name)
        for topic in allowed - self.topics:
            await self.channel_layer.group_add(group_of(topic), self.channel_name)
        self.topics = allowed
        await self.send_json({"type": "subscribed", "topics": sorted(allowed)})

    def _allowed(self, wanted: set[str]) -> set[str]:
        return {topic for topic in wanted if may_listen(self.scope["user"], topic)}

    async def live_changed(self, message: dict[str, Any]) -> None:
        if message["topic"] in self.topics:
            await self.send_json({"type": "changed", "topic": message["topic"], "up_to": message.get("up_to")})

    async def person_changed(self, _: dict[str, Any]) -> None:
        if not await database_sync_to_async(still_signed_in)(self.scope):
            await self.close(UNAUTHENTICATED)
        elif await database_sync_to_async(self._allowed)(self.topics) != self.topics:
            await self.close(NOT_FOUND)

    async def disconnect(self, code: int) -> None:  # noqa: ARG002 - Channels' signature
        for topic in self.topics:
            await self.channel_layer.group_discard(group_of(topic), self.channel_name)
        if self.scope["user"].is_authenticated:
            await self.channel_layer.group_discard(person_group(self.scope["user"].pk), self.channel_name)
