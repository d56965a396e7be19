"""HTTP on one connection: uvicorn's, with the bounds that it lacks on size, time and number.

    connected ──head_s──▶ closed          of the head: bytes, headers, length of the URL
       head   ──head_s──▶ 408             of a body: a rate, so that none holds its place for ever
       body   ──too slow─▶ 408            of an answer: how long its client may not read
       answer ──stalled──▶ cut

What is refused here never reaches the application; the answer has the form of all errors.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from preble_api.edge import REQUEST_ID, new_request_id
from preble_api.errors import HttpError, answer

MOST_HEAD_BYTES: Final = 64 * 1024
"""Of a request line and its headers together."""

MOST_HEADERS: Final = 128
MOST_URL_BYTES: Final = 8 * 1024
_RETRY_AFTER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take, and how many there may be."""

    connections: int = 4_096
    head_s: float = 10.0
    """For a head, from its first byte; and for the first byte."""
    body_step_s: float = 30.0
    body_step_bytes: int = 30 * 1024
    """Of a body that go on, in each step, while it is read."""
    stalled_s: float = 60.0
    """For which a client may leave an answer unread."""


class BoundedHttp(HttpToolsProtocol):
    """One connection; see the module.

    Args:
        config: uvicorn's.
        server_state: Likewise.
        app_state: Likewise.
        _loop: Likewise.
        limits: Its bounds.
    """

    _answering: RequestResponseCycle | None = None

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None, *, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits or Limits()
        self._reading = _Timer(self.loop)
        self._writing = _Timer(self.loop)
        self._in_head = self._in_body = self._is_refused = self._is_surplus = False
        self._head_bytes = self._body_bytes = self._body_bytes_seen = self._messages = 0
        self._watched: tuple[str, int] | None = None

    def connection_made(  # type: ignore[override]  # as uvicorn's own does
        self, transport: asyncio.Transport
    ) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._is_surplus = len(self.connections) > self._limits.connections
        self._watch()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._messages += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those after a chunked body are dropped, nobody reads them."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head ends."""
        self._in_head = False
        if error := self._wrong_head():
            self._refuse(error)
        if not self._is_refused:
            self._in_body, self._body_bytes = True, 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if not self._is_refused:
            self._body_bytes += len(body)
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request ends."""
        self._in_body = False
        if not self._is_refused:
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived. Those in which a head begins are not counted: a body may precede."""
        if self._is_surplus:
            self._refuse(_too_many(self._limits.connections))
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            message = f"the request's head has more than {MOST_HEAD_BYTES} bytes"
            self._refuse(HttpError(HTTPStatus.BAD_REQUEST, "invalid_http", message))
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read what is written to it."""
        super().pause_writing()
        self._writing.start(self._limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self._writing.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close; a request before it is left unanswered."""
        self._refuse(HttpError(HTTPStatus.BAD_REQUEST, "invalid_http", msg))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, perhaps with more requests sent than answered."""
        self._reading.stop()
        self._writing.stop()
        self._drop_answer()
        super().connection_lost(exc)

    def check_body(self) -> None:
        """A step of the time for a body is over.

        Where this process reads no further itself, its client is not to blame.
        """
        gone_on = self._body_bytes - self._body_bytes_seen
        if gone_on < self._limits.body_step_bytes and not self.flow.read_paused:
            self._refuse(_too_slow("body"))
            return
        self._body_bytes_seen = self._body_bytes
        self._reading.start(self._limits.body_step_s, self.check_body)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _wrong_head(self) -> HttpError | None:
        if len(self.url) > MOST_URL_BYTES:
            message = f"the URL has more than {MOST_URL_BYTES} bytes"
            return HttpError(HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", message)
        if len(self.headers) > MOST_HEADERS:
            message = f"the request has more than {MOST_HEADERS} headers"
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return HttpError(status, "too_many_headers", message)
        return None

    def _watch(self) -> None:
        """Time what the client has to send next; what arrived at once needs no timer."""
        due = None if self._is_refused else self._due()
        if due == self._watched:
            return
        self._watched = due
        self._reading.stop()
        if due:
            self._time(due[0])

    def _due(self) -> tuple[str, int] | None:
        """What the client has to send, and of which request; None while it awaits an answer."""
        if self._in_body:
            return "body", self._messages
        is_idle = self._messages == 0 or self._in_head or self.cycle.response_complete
        return ("head", self._messages) if is_idle else None

    def _time(self, what: str) -> None:
        if what == "head":
            self._reading.start(self._limits.head_s, self._head_is_late)
        else:
            self._body_bytes_seen = 0
            self._reading.start(self._limits.body_step_s, self.check_body)

    def _head_is_late(self) -> None:
        if self._in_head:
            self._refuse(_too_slow("head"))
        else:
            self.transport.close()

    def _refuse(self, error: HttpError) -> None:
        """Answer, unless an answer has begun, and close."""
        if self.transport.is_closing():
            return
        if not self._is_answer_begun():
            self.transport.write(_whole(error))
        self._is_refused = True
        self.transport.close()
        self._drop_answer()

    def _is_answer_begun(self) -> bool:
        """Whether another answer would stand in the midst of one, or be the second of a request."""
        answering = self._answering
        if answering is None or not answering.response_started:
            return False
        return not answering.response_complete or (self._in_body and answering is self.cycle)

    def _drop_answer(self) -> None:
        """Write no more: to what is closed that would raise, and uvicorn knows the last request."""
        if self._answering is not None:
            self._answering.disconnected = True


class _Timer:
    """Calls back once, unless stopped before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


def _whole(error: HttpError) -> bytes:
    """An answer, head and body, that says that the connection is closed."""
    request_id = new_request_id()
    response = answer(error, request_id.decode())
    headers = [*response.raw_headers, (REQUEST_ID, request_id), (b"connection", b"close")]
    head = b"".join(b"%b: %b\r\n" % each for each in headers)
    status = f"HTTP/1.1 {error.status:d} {error.status.phrase}\r\n"
    return status.encode() + head + b"\r\n" + bytes(response.body)


def _too_slow(what: str) -> HttpError:
    message = f"the {what} of the request came too slowly"
    return HttpError(HTTPStatus.REQUEST_TIMEOUT, "too_slow", message, retry_after_s=_RETRY_AFTER_S)


def _too_many(connections: int) -> HttpError:
    message = f"this api has its {connections} connections; come back later"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return HttpError(status, "too_many_connections", message, retry_after_s=_RETRY_AFTER_S)
