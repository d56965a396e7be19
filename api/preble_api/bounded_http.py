"""HTTP on one connection: uvicorn's, with the bounds that it lacks on size, time and number.

    connected ──head_s──▶ closed          of the head: bytes, headers, length of the URL
       head   ──head_s──▶ 408             of a body: a rate, so that none holds its place for ever
       body   ──too slow─▶ 408            of an answer: how long its client may not read
       answer ──stalled──▶ cut
              ──more body▶ closed          nobody reads it any more

What is refused here never reaches the application; the answer has the form of all errors.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from preble_api.errors import HttpError
from preble_api.http_refusals import (
    invalid,
    long_url,
    many_headers,
    too_many,
    too_slow,
    whole,
)
from preble_api.timer import Timer

MOST_HEAD_BYTES: Final = 64 * 1024
"""Of a request line and its headers together."""

MOST_HEADERS: Final = 128
MOST_URL_BYTES: Final = 8 * 1024
MOST_PIPELINED: Final = 16
"""Requests that wait on one connection for the answer to another."""

MOST_LATE_BYTES: Final = 1024 * 1024
"""Of a body that are read after its answer, so that its client can read that."""

SPARE_CONNECTIONS: Final = 64
"""Beyond those that there may be, whose clients are still told so."""


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
    """For which a client may read nothing of an answer."""


class BoundedHttp(HttpToolsProtocol):
    """One connection; see the module.

    Args:
        config: uvicorn's.
        server_state: Likewise.
        app_state: Likewise.
        _loop: Likewise.
        limits: Its bounds.
    """

    parser: httptools.HttpRequestParser
    _answering: RequestResponseCycle | None = None

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None, *, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits or Limits()
        self._reading = Timer(self.loop)
        self._writing = Timer(self.loop)
        self._in_head = self._in_body = self._is_refused = self._is_surplus = False
        self._head_bytes = self._body_bytes = self._body_bytes_seen = self._messages = 0
        self._late_bytes = self._unread_bytes = 0
        self._again = b""
        self._watched: tuple[str, int] | None = None

    def connection_made(  # type: ignore[override]  # as uvicorn's own does
        self, transport: asyncio.Transport
    ) -> None:
        """A client is there."""
        super().connection_made(transport)
        surplus = len(self.connections) - self._limits.connections
        self._is_surplus = surplus > 0
        if surplus > SPARE_CONNECTIONS:
            transport.abort()  # it takes a file, of which there are so many
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
        elif not self._is_refused and self.parser.should_upgrade():
            self._again = self._head_without_upgrade()
        elif not self._is_refused:
            self._in_body, self._body_bytes, self._late_bytes = True, 0, 0
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._is_refused:
            return
        self._body_bytes += len(body)
        super().on_body(body)
        self._late_bytes += len(body) if self.cycle.response_complete else 0
        if self._late_bytes > MOST_LATE_BYTES:
            self._leave()

    def on_message_complete(self) -> None:
        """A request ends."""
        self._in_body = False
        if not (self._is_refused or self._again):
            super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived. Those in which a head begins are not counted: a body may precede."""
        if self._is_surplus:
            self._refuse(too_many(self._limits.connections))
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._in_head and self._head_bytes > MOST_HEAD_BYTES:
            self._refuse(invalid(f"the request's head has more than {MOST_HEAD_BYTES} bytes"))
        self._watch()

    def pause_writing(self) -> None:
        """The client does not read what is written to it."""
        super().pause_writing()
        self._time_reader()

    def resume_writing(self) -> None:
        """It reads again."""
        self._writing.stop()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close; a request before it is left unanswered."""
        self._refuse(invalid(msg))

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
            self._refuse(too_slow("body"))
            return
        self._body_bytes_seen = self._body_bytes
        self._reading.start(self._limits.body_step_s, self.check_body)

    def check_reader(self) -> None:
        """The time for which an answer may go unread is over: slow is not stalled."""
        if self.transport.get_write_buffer_size() < self._unread_bytes:
            self._time_reader()
        else:
            self.transport.abort()

    def _time_reader(self) -> None:
        self._unread_bytes = self.transport.get_write_buffer_size()
        self._writing.start(self._limits.stalled_s, self.check_reader)

    def _parse(self, data: bytes) -> None:
        """As uvicorn, but that a request which would upgrade keeps its body.

        An upgrade that is not known is to be ignored (RFC 9110, 7.8); the parser ends the request
        there and takes its body for the next one. So it gets the head again, without.
        """
        while data and not self._is_refused:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as stopped:
                data = self._again + data[stopped.args[0] :]
                self._again = b""
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                data = b""

    def _head_without_upgrade(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version()
        headers = [each for each in self.headers if each[0] != b"upgrade"]
        first = b"%b %b HTTP/%b\r\n" % (method, self.url, version.encode())
        return first + b"".join(b"%b: %b\r\n" % each for each in headers) + b"\r\n"

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _wrong_head(self) -> HttpError | None:
        if len(self.url) > MOST_URL_BYTES:
            return long_url(MOST_URL_BYTES)
        if len(self.headers) > MOST_HEADERS:
            return many_headers(MOST_HEADERS)
        if len(self.pipeline) >= MOST_PIPELINED:
            return invalid(f"more than {MOST_PIPELINED} requests wait for an answer before them")
        if self.parser.get_method() == b"CONNECT":
            return invalid("this is no proxy: CONNECT is not offered")
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
            self._refuse(too_slow("head"))
        else:
            self.transport.close()

    def _refuse(self, error: HttpError) -> None:
        """Answer, unless an answer has begun, and close."""
        if self.transport.is_closing():
            return
        if not self._is_answer_begun():
            self.transport.write(whole(error))
        self._leave()

    def _leave(self) -> None:
        """Close, and heed nothing that still comes."""
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
