"""The channel layer of the embedded studio: in memory, and usable from any thread.

Channels' own in-memory layer keeps asyncio queues, which wake only readers of the loop that fills them; filled from a
task's thread, a page would hear seconds later or never. Here the loop that makes the channels (the web server's) owns
the layer, and whoever sends from elsewhere hands the message over to that loop.
"""

import asyncio
import threading
from typing import Any

from channels.layers import InMemoryChannelLayer

NEVER = float("inf")  # when a message expires; Channels would also end the reader's subscription with it
LISTENING = 10**9  # seconds a page may stay open and listen


class LoopBoundLayer(InMemoryChannelLayer):
    """An in-memory layer owned by one event loop: the last one that made a channel."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(group_expiry=LISTENING, **kwargs)
        self._lock = threading.Lock()
        self._owner: asyncio.AbstractEventLoop | None = None

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._adopt(asyncio.get_running_loop())
        return str(await super().new_channel(prefix))

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if self._owner is not loop:  # a new server: nobody of the old one listens any more
                self.channels.clear()
                self.groups.clear()
                self._owner = loop

    def post(self, group: str, message: dict[str, Any]) -> None:
        """Send to `group` from any thread, without waiting. Without a listening server there is nobody to tell."""
        with self._lock:
            owner = self._owner
        if owner is None or owner.is_closed():
            return
        try:
            owner.call_soon_threadsafe(self._deliver, group, message)
        except RuntimeError:  # closed between the question and the call: the server has just stopped
            return

    def _deliver(self, group: str, message: dict[str, Any]) -> None:
        """On the owner's loop. A reader 100 messages behind will look at the store anyway: it misses no fact."""
        for channel in list(self.groups.get(group, ())):
            queue = self.channels.setdefault(channel, asyncio.Queue(maxsize=self.get_capacity(channel)))
            if not queue.full():
                queue.put_nowait((NEVER, dict(message)))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.post(group, message)
