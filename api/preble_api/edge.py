"""The outermost layer of the application: what holds for every request and every answer.

Every answer carries a request id, every error leaves in one form, every request is counted.
This is the one place that catches everything: a bug ends one request, is logged once with
its request id, and tells the client nothing.
"""

import logging
import re
import secrets
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preble.clock import Clock
from preble.errors import PrebleError
from preble.logs import log_context
from preble.metrics import ApiMetrics
from preble.tracing import Attributes, RequestSpan, Tracing, traceparent
from preble_api.asgi import header
from preble_api.errors import answer, refusal
from preble_api.rate_headers import rate_headers

_logger = logging.getLogger(__name__)

REQUEST_ID: Final = b"x-request-id"
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_OTHER: Final = "other"
_CLIENT_GONE: Final = 499
"""Counted where nobody is left to be answered; nginx's number."""
_SERVER_ERROR: Final = 500
_PROBES: Final = frozenset({"/livez", "/readyz", "/health", "/metrics"})
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Edge:
    """ASGI middleware; see the module.

    Args:
        app: What it encloses.
        metrics: Where requests are counted.
        clock: Measures them.
        tracing: Where they are traced.
    """

    def __init__(
        self, app: ASGIApp, *, metrics: ApiMetrics, clock: Clock, tracing: Tracing
    ) -> None:
        self._app = app
        self._tracing = tracing
        self._metrics = metrics
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        log_context(request_id=request_id.decode())  # a server begins a task for each request
        span = self._begin_span(scope)
        started_s = self._clock.now_s()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [(REQUEST_ID, request_id), *rate_headers(scope)]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = _CLIENT_GONE
        except Exception as error:
            if status:
                raise  # half an answer is out: the server cuts the connection and logs this
            if not isinstance(error, PrebleError | HTTPException):
                _logger.exception("request %s failed", request_id.decode())
            response = answer(refusal(error), request_id.decode())
            await response(scope, receive, send_with_id)
        finally:
            route, method = _route_of(scope)
            self._count(route, method, status, self._clock.now_s() - started_s)
            if span is not None:
                told: Attributes = {
                    "http.request.method": method, "http.route": route,
                    "http.response.status_code": status, "preble.request.id": request_id.decode(),
                }  # fmt: skip
                span.end(f"{method} {route}", told, is_error=status >= _SERVER_ERROR)

    def _begin_span(self, scope: Scope) -> RequestSpan | None:
        """None for probes and pages of metrics, which somebody asks for all the time."""
        if scope["path"] in _PROBES:
            return None
        span = self._tracing.begin((header(scope, b"traceparent") or b"").decode("latin-1"))
        if span is not None:
            traceparent.set(span.traceparent)
        return span

    def _count(self, route: str, method: str, status: int, seconds: float) -> None:
        self._metrics.http_requests.labels(route, method, str(status)).inc()
        self._metrics.http_request_seconds.labels(route, method).observe(seconds)


def _route_of(scope: Scope) -> tuple[str, str]:
    """Route and method, as few as there are."""
    route = getattr(scope.get("route"), "path", _OTHER)
    return route, scope["method"] if scope["method"] in _METHODS else _OTHER


def _request_id(scope: Scope) -> bytes:
    """The client's own, if it is fit for a log and a header; else a new one."""
    given = header(scope, REQUEST_ID)
    if given and _SANE_ID.fullmatch(given):
        return given
    return new_request_id()


def new_request_id() -> bytes:
    """An id for a request that brings none."""
    return b"req_" + secrets.token_hex(16).encode()
