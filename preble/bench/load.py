"""A load of HTTP requests from one process, light enough not to be what is measured.

A general HTTP client costs as much as the server it would measure; this one sends ready
bytes on kept connections and parses replies with the server's own C parser.
"""

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import httptools
import msgspec

from preble.errors import PrebleError


class LoadFailed(PrebleError):
    """A server answered a benchmark's request with an error, or not at all."""


class Reply(msgspec.Struct, frozen=True):
    """One answer, and when its request was sent (Unix seconds)."""

    status: int
    body: bytes
    sent_at_s: float


class Target:
    """A server that requests go to."""

    def __init__(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.port = parts.port or 80
        self.path = path

    def post(self, body: bytes) -> bytes:
        """A whole POST request, as bytes."""
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def get(self, *headers: str) -> bytes:
        """A whole GET request, as bytes."""
        lines = (f"GET {self.path} HTTP/1.1", f"Host: {self.host}:{self.port}", *headers)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Connection(asyncio.Protocol):
    """One kept connection: a request at a time. Also httptools' parser callbacks."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._done: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def to(cls, target: Target) -> "Connection":
        """Connect. Raises: OSError."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, target.host, target.port)
        return connection

    async def send(self, request: bytes) -> Reply:
        """Send a request and wait for its reply. Raises: LoadFailed if the connection ends."""
        assert self._transport  # noqa: S101  # connected
        self._done = asyncio.get_running_loop().create_future()
        sent_at_s = _unix_s()
        self._transport.write(request)
        await self._done
        body = b"".join(self._body)
        self._body.clear()
        return Reply(self._parser.get_status_code(), body, sent_at_s)

    def close(self) -> None:
        """End the connection."""
        if self._transport:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a TCP connection
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """asyncio: bytes arrived."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection ended."""
        if self._done and not self._done.done():
            self._done.set_exception(LoadFailed(f"the server closed a connection: {exc}"))

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """httptools: the reply is whole."""
        if self._done:
            self._done.set_result(None)


async def send_all(target: Target, requests: Sequence[bytes], *, concurrency: int) -> list[Reply]:
    """Send requests, so many at a time, in order.

    Returns:
        A reply for each request, in the order of completion.

    Raises:
        LoadFailed: If any reply is not a success.
    """
    waiting = iter(requests)
    replies: list[Reply] = []

    async def work() -> None:
        connection = await Connection.to(target)
        for request in waiting:
            reply = await connection.send(request)
            if reply.status >= 300:  # noqa: PLR2004  # HTTP: beyond success
                msg = f"{target.path} answered {reply.status}: {reply.body[:200]!r}"
                raise LoadFailed(msg)
            replies.append(reply)
        connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(concurrency, len(requests))):
            tasks.create_task(work())
    return replies


async def get(target: Target) -> bytes:
    """Body of one GET. Raises: LoadFailed."""
    return (await send_all(target, [target.get()], concurrency=1))[0].body


def _unix_s() -> float:
    """Wall time, to be compared with Redis TIME on the same machine."""
    return time.time_ns() / 1e9
