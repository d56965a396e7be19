"""`/metrics` and `/livez` of a process that serves nothing else: a scheduler, a worker.

A page is made on the process's own event loop, so `/livez` says that the loop turns. It asks for
no key and shows no prompt and no client; who may reach its address is the operator's choice.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from preble.errors import ConfigError

CLIENT_S: Final = 5.0
"""For asking and for taking the page: Prometheus gives up after ten seconds itself."""

MOST_CLIENTS: Final = 16
"""At once; more are hung up on."""

_MOST_HEAD_BYTES: Final = 8192
_PLAIN: Final = "text/plain; charset=utf-8"


@asynccontextmanager
async def serving_metrics(
    host: str, port: int, registry: CollectorRegistry
) -> AsyncGenerator[None]:
    """Serve both pages meanwhile.

    Args:
        host: Address to listen on.
        port: 0 for not at all.
        registry: What `/metrics` shows.

    Raises:
        ConfigError: If the address cannot be had.
    """
    if not port:
        yield
        return
    pages = _Pages(registry)
    try:
        server = await asyncio.start_server(pages.serve, host, port, limit=_MOST_HEAD_BYTES)
    except OSError as error:
        msg = f"cannot serve metrics on {host}:{port}: {error.strerror}"
        raise ConfigError(msg) from None
    try:
        yield
    finally:
        server.close()


class _Pages:
    """Answers one request on each connection."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._num_clients = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        self._num_clients += 1
        try:
            if self._num_clients <= MOST_CLIENTS:
                await self._exchange(reader, writer)
        finally:
            self._num_clients -= 1
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Whoever is too slow, says too much or leaves gets no answer."""
        gone = (TimeoutError, EOFError, asyncio.LimitOverrunError, OSError)
        with contextlib.suppress(*gone):
            async with asyncio.timeout(CLIENT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path not in {b"/metrics", b"/livez"}:
            return _reply("404 Not Found", _PLAIN, b"/metrics and /livez are here\n")
        if method != b"GET":
            return _reply("405 Method Not Allowed", _PLAIN, b"only GET\n")
        if path == b"/livez":
            return _reply("200 OK", "application/json", b'{"status":"ok"}')
        return _reply("200 OK", CONTENT_TYPE_LATEST, generate_latest(self._registry))


def _reply(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
