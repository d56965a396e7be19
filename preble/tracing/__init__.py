"""Traces: one from the HTTP request, over Redis, to the engine. Off unless asked for.

    client ─ traceparent ─▶ api: span of the request ─ JobSpec.traceparent ─▶ worker: job ─▶ engine

A worker records its spans once a job has ended in its engine. What OpenTelemetry needs is an
optional extra and imported by `otel.py` alone; prompts and outputs are in no span.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final, Literal, Protocol

from preble.errors import ConfigError

TracingKind = Literal["off", "otlp"]
Attributes = Mapping[str, str | int | float | tuple[str, ...]]

traceparent: Final = ContextVar("traceparent", default="")
"""Of the request that is being served; empty where nothing is traced."""


class RequestSpan(Protocol):
    """The span of one HTTP request."""

    traceparent: str

    def end(self, name: str, attributes: Attributes, *, is_error: bool) -> None:
        """The request was answered."""
        ...


class Tracing(Protocol):
    """Where spans go."""

    def begin(self, traceparent: str) -> RequestSpan | None:
        """The span of a request that begins, below its client's; None if nothing is traced."""
        ...

    def record(
        self, name: str, *, parent: str, began_ago_s: float, attributes: Attributes,
        is_error: bool = False,
    ) -> str:  # fmt: skip
        """A span that ends now.

        Args:
            name: Of what was done: few names, for all.
            parent: The `traceparent` that it stands below; without one nothing is recorded.
            began_ago_s: How long it took.
            attributes: What is told of it.
            is_error: Whether it failed.

        Returns:
            Its own `traceparent`; empty if nothing was recorded.
        """
        ...

    def close(self) -> None:
        """Send what is left. Blocks, for some seconds at most."""
        ...


class NoTracing:
    """Traces nothing."""

    def begin(self, traceparent: str) -> None:
        """None."""
        del traceparent

    def record(
        self, name: str, *, parent: str, began_ago_s: float, attributes: Attributes,
        is_error: bool = False,
    ) -> str:  # fmt: skip
        """Nothing."""
        del name, parent, began_ago_s, attributes, is_error
        return ""

    def close(self) -> None:
        """Nothing is left."""


def create_tracing(kind: TracingKind, process: str) -> Tracing:
    """As the settings say.

    Args:
        kind: `otlp` sends to where OpenTelemetry's own variables say.
        process: Such as `api`; names the service, unless OTEL_SERVICE_NAME does.

    Raises:
        ConfigError: If the extra is not installed.
    """
    if kind == "off":
        return NoTracing()
    try:
        from preble.tracing.otel import otlp_tracing  # noqa: PLC0415 - an optional extra
    except ImportError:
        msg = "setting tracing: otlp needs OpenTelemetry; pip install 'preble[otel]'"
        raise ConfigError(msg) from None
    return otlp_tracing(process)
