"""One trace from a client's request, over Redis, to the engine, at a collector that listens."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from processes import stack
from support import eventually

pytestmark = pytest.mark.process

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
PROMPT = "a word that only the prompt has"


class Collector:
    """Takes what is sent to it by OTLP over HTTP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.url = ""

    def spans(self) -> dict[str, Span]:
        """By service and name."""
        found: dict[str, Span] = {}
        for body in self.bodies:
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                (service,) = (
                    attribute.value.string_value
                    for attribute in each.resource.attributes
                    if attribute.key == "service.name"
                )
                spans = [span for scope in each.scope_spans for span in scope.spans]
                found |= {f"{service}: {span.name}": span for span in spans}
        return found


@contextmanager
def collecting() -> Generator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its own
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def values(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_job_s_way_is_one_trace_without_its_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with stack(tmp_path, instances=1, tracing="otlp", emulated_speed="20") as served:
            reply = httpx2.post(
                f"{served.url}/v1/jobs", json={"prompt": PROMPT}, trust_env=False,
                headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
            )  # fmt: skip
            assert reply.status_code == 202
            eventually(lambda: len(collector.spans()) == 3)
            found = collector.spans()
            assert set(found) == {
                "preble-api: POST /v1/jobs", "preble-worker: job",
                "preble-worker: text_completion preble-emulated",
            }  # fmt: skip
            request, job, engine = (found[name] for name in sorted(found))
            assert {span.trace_id.hex() for span in found.values()} == {TRACE}
            assert request.parent_span_id.hex() == PARENT
            assert job.parent_span_id == request.span_id
            assert engine.parent_span_id == job.span_id
            assert values(job)["preble.job.id"] == reply.json()["id"]
            told = values(engine)
            assert told["gen_ai.operation.name"] == "text_completion"
            assert int(told["gen_ai.usage.output_tokens"]) > 0
            assert "gen_ai.usage.cache_read.input_tokens" in told
    assert not any(PROMPT.encode() in body for body in collector.bodies)
