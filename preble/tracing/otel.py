"""Traces by OpenTelemetry's SDK.

It reads its own variables: `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`,
`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`.
"""

import time
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from preble import __version__
from preble.tracing import Attributes

SEND_S: Final = 3
"""For one batch of spans: a collector that is away must not hold up the end of a process."""

_W3C: Final = TraceContextTextMapPropagator()


def otlp_tracing(process: str) -> "OtelTracing":
    """Traces that are sent by OTLP over HTTP, from a thread of the SDK."""
    return OtelTracing(process, BatchSpanProcessor(OTLPSpanExporter(timeout=SEND_S)))


class OtelTracing:
    """Implements `Tracing`.

    Args:
        process: Names the service.
        processor: Takes the spans that have ended.
    """

    def __init__(self, process: str, processor: SpanProcessor) -> None:
        named = Resource({"service.name": f"preble-{process}", "service.version": __version__})
        said = OTELResourceDetector().detect()  # by the variables, which win
        self._provider = TracerProvider(resource=named.merge(said), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("preble", __version__)

    def begin(self, traceparent: str) -> "OtelRequestSpan":
        """The span of a request that begins, below its client's."""
        span = self._tracer.start_span("request", _below(traceparent), SpanKind.SERVER)
        return OtelRequestSpan(span)

    def record(
        self, name: str, *, parent: str, began_ago_s: float, attributes: Attributes,
        is_error: bool = False,
    ) -> str:  # fmt: skip
        """A span that ends now, below a parent."""
        if not parent:
            return ""
        now_ns = time.time_ns()  # spans are on each host's wall clock
        began_ns = now_ns - int(began_ago_s * 1e9)
        span = self._tracer.start_span(
            name, _below(parent), SpanKind.CONSUMER, attributes, start_time=began_ns
        )
        _end(span, is_error=is_error, at_ns=now_ns)
        return _traceparent_of(span)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class OtelRequestSpan:
    """Implements `RequestSpan`."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent_of(span)

    def end(self, name: str, attributes: Attributes, *, is_error: bool) -> None:
        """The request was answered."""
        self._span.update_name(name)
        self._span.set_attributes(dict(attributes))
        _end(self._span, is_error=is_error)


def _end(span: Span, *, is_error: bool, at_ns: int | None = None) -> None:
    if is_error:
        span.set_status(StatusCode.ERROR)
    span.end(at_ns)


def _below(traceparent: str) -> Context:
    """Of a text that is no `traceparent` nothing is below: a trace of its own begins."""
    return _W3C.extract({"traceparent": traceparent}, Context())


def _traceparent_of(span: Span) -> str:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span, Context()))
    return carrier.get("traceparent", "")
