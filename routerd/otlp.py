"""The one module that knows OpenTelemetry: makes spans with its SDK and sends them with its exporter.

It takes 0.3 s and some memory to import, so nobody imports it unless a collector is named. What the library reads
from the environment counts: OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE, _TIMEOUT, _COMPRESSION, OTEL_RESOURCE_ATTRIBUTES.
"""

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from routerd import __version__
from routerd.settings import Settings
from routerd.spans import Logged, SpanText, describe_span

_PATH: Final = "/v1/traces"


class Exporter:
    """Makes the spans of logged requests, and sends them; for one thread."""

    def __init__(self, settings: Settings) -> None:
        resource = Resource.create(
            {
                "service.name": "slipway-routerd",
                "service.version": __version__,
                "service.instance.id": settings.pod_name,
            }
        )
        # What is logged is sampled already: only a caller's own "not sampled" counts here.
        provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), resource=resource, shutdown_on_exit=False)
        self._ended = _Ended()
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("routerd", __version__)
        self._caller = TraceContextTextMapPropagator()
        url = settings.otlp_endpoint
        self._exporter = trace_exporter.OTLPSpanExporter(endpoint=url if url.endswith(_PATH) else url + _PATH)

    def export(self, batch: Sequence[Logged]) -> tuple[int, str]:
        """Send the spans of these requests, trying again for some seconds; of how many none was taken, and why."""
        for logged in batch:
            text = describe_span(logged)
            self._make(text, kind=SpanKind.SERVER, context=self._caller.extract({"traceparent": text.traceparent}))
        spans, _words.first = self._ended.take(), ""
        if not spans or self._exporter.export(spans) is SpanExportResult.SUCCESS:
            return 0, ""
        return sum(span.kind is SpanKind.SERVER for span in spans), _words.first or "it does not say why"

    def _make(self, text: SpanText, *, kind: SpanKind, context: Context) -> None:
        span = self._tracer.start_span(
            text.name, context=context, kind=kind, attributes=text.attributes, start_time=text.start
        )
        if not span.is_recording():
            return
        if text.error:
            span.set_status(Status(StatusCode.ERROR, text.error))
        if text.model:
            self._make(text.model, kind=SpanKind.CLIENT, context=trace.set_span_in_context(span))
        span.end(end_time=text.end)


class _Ended(SpanProcessor):
    """Keeps spans that ended until they are taken."""

    def __init__(self) -> None:
        self._spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.append(span)

    def take(self) -> list[ReadableSpan]:
        spans, self._spans = self._spans, []
        return spans


class _Words(logging.Filter):
    """Keeps the library's lines, one for each attempt, out of the log; the first of them tells the cause."""

    first = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.first = self.first or record.getMessage()
        return False


_words: Final = _Words()  # one for all: a filter behind another that says no sees nothing
logging.getLogger(trace_exporter.__name__).addFilter(_words)
