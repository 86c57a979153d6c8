"""A model that streams: events as a test asks for them, and uploads told piece by piece."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from routerd.routes import Replica
from tests.ports import free_port

EVENT = b"data: hello\n\n"
ZIPPED = gzip.compress(b'{"score": 1}' * 50)


@dataclass
class StreamModel:
    """One replica; `send` holds one permit per event, `gone` counts callers that left before the end."""

    port: int
    send: asyncio.Queue[bool] = field(default_factory=asyncio.Queue)
    pieces: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    gone: int = 0
    seen: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def replica(self) -> Replica:
        return Replica(name="stream-1", address="127.0.0.1", port=self.port)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events until the queue says that it was the last."""
        self.seen.append(request)
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        try:
            while await self.send.get():
                await answer.write(EVENT)
        except (ConnectionError, asyncio.CancelledError):
            self.gone += 1
            raise
        return answer

    async def collect(self, request: web.Request) -> web.Response:
        """The body, of which every piece is told as it comes."""
        self.seen.append(request)
        async for piece in request.content.iter_any():
            self.pieces.put_nowait(piece)
        return web.Response(text="all")

    async def silent(self, request: web.Request) -> web.Response:
        """No answer at all."""
        self.seen.append(request)
        await asyncio.Event().wait()
        return web.Response()

    async def zipped(self, request: web.Request) -> web.Response:
        """A body that is compressed already; keeps what it was sent."""
        self.seen.append(request)
        self.bodies.append(await request.content.read())
        return web.Response(body=ZIPPED, headers={"content-encoding": "gzip", "content-type": "application/json"})


@asynccontextmanager
async def stream_model() -> AsyncIterator[StreamModel]:
    """A running one."""
    model = StreamModel(free_port())
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/events", model.events)
    app.router.add_route("*", "/collect", model.collect)
    app.router.add_route("*", "/silent", model.silent)
    app.router.add_route("*", "/zipped", model.zipped)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1, auto_decompress=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", model.port).start()
        yield model
    finally:
        await runner.cleanup()
