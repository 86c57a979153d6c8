"""A collector of traces: takes OTLP over HTTP, as any of them does, and keeps what it was sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Value = str | int


@dataclass(frozen=True)
class Received:
    """One span, and who sent it."""

    span: Span
    attributes: dict[str, Value]
    sender: dict[str, Value]


@dataclass
class Collector:
    """What came in so far; `mute` lets it take requests and answer none."""

    url: str
    received: list[Received] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    mute: bool = False

    def requests(self) -> list[Received]:
        """The spans of requests, in the order of their beginning."""
        found = [one for one in self.received if one.span.kind == Span.SPAN_KIND_SERVER]
        return sorted(found, key=lambda one: one.span.start_time_unix_nano)

    def children_of(self, parent: Received) -> list[Received]:
        """The spans below this one."""
        return [one for one in self.received if one.span.parent_span_id == parent.span.span_id]

    async def take(self, request: web.Request) -> web.Response:
        """The path of every collector."""
        body = await request.read()
        self.headers.append(dict(request.headers))
        if self.mute:
            await asyncio.Event().wait()
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            sender = _read(group.resource.attributes)
            for scope in group.scope_spans:
                self.received += [Received(span, _read(span.attributes), sender) for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


def _read(pairs: "list[KeyValue]") -> dict[str, Value]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


@asynccontextmanager
async def run_collector(port: int, *, mute: bool = False) -> AsyncIterator[Collector]:
    """A collector on this port of 127.0.0.1."""
    collector = Collector(f"http://127.0.0.1:{port}", mute=mute)
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield collector
    finally:
        await runner.cleanup()
