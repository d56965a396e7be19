"""Spans of requests and jobs, by OpenTelemetry's own SDK."""

import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from preble.errors import ConfigError
from preble.tracing import NoTracing, create_tracing
from preble.tracing.otel import OtelTracing

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = CLIENT[:-1] + "0"


class Traced:
    """Tracing whose spans are kept."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.tracing = OtelTracing("test", SimpleSpanProcessor(self._spans))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._spans.get_finished_spans()}


def trace_of(span: ReadableSpan) -> str:
    assert span.context
    return f"{span.context.trace_id:032x}"


def parent_of(span: ReadableSpan) -> str:
    return f"{span.parent.span_id:016x}" if span.parent else ""


def seconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def test_a_request_goes_on_with_its_client_s_trace_and_jobs_with_the_request_s() -> None:
    traced = Traced()
    request = traced.tracing.begin(CLIENT)
    request.end("POST /v1/jobs", {"http.response.status_code": 202}, is_error=False)
    job = traced.tracing.record(
        "job", parent=request.traceparent, began_ago_s=3.0, attributes={}, is_error=True
    )
    traced.tracing.record("engine", parent=job, began_ago_s=2.0, attributes={"n": 1})

    served, ran, engine = (traced.spans[name] for name in ("POST /v1/jobs", "job", "engine"))
    assert {trace_of(span) for span in (served, ran, engine)} == {CLIENT.split("-")[1]}
    assert parent_of(served) == CLIENT.split("-")[2]
    assert parent_of(ran) == request.traceparent.split("-")[2]
    assert parent_of(engine) == job.split("-")[2]
    assert seconds(ran) == pytest.approx(3.0)
    assert seconds(engine) == pytest.approx(2.0)
    assert not ran.status.is_ok
    assert engine.attributes == {"n": 1}


@pytest.mark.parametrize("nonsense", ["", "00-zz-yy-01", "x" * 5_000, "00-" + "0" * 32 + "-1-01"])
def test_what_is_no_traceparent_begins_a_trace_of_its_own(nonsense: str) -> None:
    traced = Traced()
    request = traced.tracing.begin(nonsense)
    request.end("GET /", {}, is_error=False)
    assert parent_of(traced.spans["GET /"]) == ""


def test_what_the_client_does_not_sample_is_not_sent_and_goes_on_unsampled() -> None:
    traced = Traced()
    request = traced.tracing.begin(NOT_SAMPLED)
    request.end("POST /v1/jobs", {}, is_error=False)
    traced.tracing.record("job", parent=request.traceparent, began_ago_s=1.0, attributes={})
    assert traced.spans == {}


def test_a_job_that_nobody_traced_has_no_span() -> None:
    traced = Traced()
    assert traced.tracing.record("job", parent="", began_ago_s=1.0, attributes={}) == ""
    assert traced.spans == {}


def test_off_is_the_default_and_traces_nothing() -> None:
    tracing = create_tracing("off", "api")
    assert isinstance(tracing, NoTracing)
    tracing.close()


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "preble.tracing.otel", None)
    with pytest.raises(ConfigError, match=r"pip install 'preble\[otel\]'"):
        create_tracing("otlp", "api")
