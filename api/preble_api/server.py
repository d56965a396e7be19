"""The socket and the server around the application: uvicorn, with bounds and a ready line."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import sys
from collections.abc import Callable, Generator
from http import HTTPStatus
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from preble.config import Settings
from preble.errors import ConfigError
from preble_api.edge import REQUEST_ID, new_request_id
from preble_api.errors import HttpError, answer

MOST_HEAD_BYTES: Final = 64 * 1024
"""Of a request line and its headers together."""

KEEP_ALIVE_S: Final = 75
"""Longer than the minute after which proxies close an idle connection themselves."""

GRACE_S: Final = 10
"""How long requests may take to end when the server is told to stop."""


def listen(settings: Settings) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        ConfigError: If the address cannot be had, or is open to others without an api key.
    """
    place = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        _require_key_beyond_loopback(settings, str(address[0]))
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        msg = f"cannot listen on {place}: {error.strerror}"
        raise ConfigError(msg) from None
    return bound


def _require_key_beyond_loopback(settings: Settings, address: str) -> None:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if not ip.is_loopback and not settings.api_key:
        msg = f"host {settings.host} is open to others: set PREBLE_API_KEY, or use 127.0.0.1"
        raise ConfigError(msg)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, with the bound on a request's head that its parser lacks.

    What is no HTTP never reaches the application; its answer has the form of all errors.
    """

    _in_head = False
    _head_bytes = 0
    _answering: RequestResponseCycle | None = None

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; those after a chunked body are dropped, nobody reads them."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head ends."""
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived. Those in which a head begins are not counted: a body may precede."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        is_too_long = self._in_head and self._head_bytes > MOST_HEAD_BYTES
        if is_too_long and not self.transport.is_closing():
            self.send_400_response(f"The request's head has more than {MOST_HEAD_BYTES} bytes.")

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, and close; a request before it is left unanswered."""
        request_id = new_request_id()
        error = HttpError(HTTPStatus.BAD_REQUEST, "invalid_http", msg)
        response = answer(error, request_id.decode())
        headers = [*response.raw_headers, (REQUEST_ID, request_id), (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % each for each in headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"\r\n" + response.body)
        self.transport.close()
        self._drop_answer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left, perhaps with more requests sent than answered."""
        self._drop_answer()
        super().connection_lost(exc)

    def _drop_answer(self) -> None:
        """Write no more: to what is closed that would raise, and uvicorn knows the last request."""
        if self._answering is not None:
            self._answering.disconnected = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)


class ApiServer(uvicorn.Server):
    """Serves an application on a bound socket until SIGINT or SIGTERM, then ends requests.

    Args:
        app: Its lifespan is the caller's business.
        bound: From `listen`.
    """

    def __init__(self, app: FastAPI, bound: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedHttp,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._bound = bound
        self._stop_waits: Callable[[], None] = app.state.stop_waits

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told to stop: requests that wait for jobs end now, with an answer."""
        self._stop_waits()
        super().handle_exit(sig, frame)

    async def run_until_stopped(self) -> None:
        """Serve, saying so once connections are accepted."""
        await self.serve(sockets=[self._bound])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, then print the one line that others wait for."""
        await super().startup(sockets)
        sys.stdout.write(f"preble-api listening on {url_of(self._bound)}\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop on a signal and then return; uvicorn would raise it again and die of it."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def url_of(bound: socket.socket) -> str:
    """The address as clients on this host use it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
