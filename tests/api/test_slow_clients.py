"""Clients that hold a place and send nothing, on real sockets with short limits."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from preble_api.bounded_http import BoundedHttp, Limits

pytestmark = pytest.mark.anyio

SHORT_S = 0.05
LONG_BYTES = 50_000_000
HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n"
WITH_BODY = HEAD + b"content-length: 100000\r\n\r\n"


async def sized(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the size of the body; to `/long` with more than anybody's buffers hold."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = b"a" * LONG_BYTES if scope["path"] == "/long" else b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Watched(BoundedHttp):
    """Says that a connection is gone."""

    def __init__(
        self, config: uvicorn.Config, limits: Limits, state: ServerState, gone: asyncio.Event
    ) -> None:
        super().__init__(config, state, {}, limits=limits)
        self._gone = gone

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone.set()


@asynccontextmanager
async def listening(limits: Limits) -> AsyncGenerator[tuple[int, asyncio.Event]]:
    """A server with these limits: its port, and whether a connection to it was lost."""
    config = uvicorn.Config(sized, log_config=None, timeout_keep_alive=600)
    config.load()
    gone = asyncio.Event()
    made = partial(Watched, config, limits, ServerState(), gone)
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], gone
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def closing(writer: asyncio.StreamWriter) -> Generator[asyncio.StreamWriter]:
    try:
        yield writer
    finally:
        writer.close()


async def reply_to(limits: Limits, *sent: bytes) -> bytes:
    """All that a server says until it closes the connection, to a client that then falls silent."""
    async with listening(limits) as (port, gone):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            for part in sent:
                writer.write(part)
                await writer.drain()
            said = await asyncio.wait_for(reader.read(), 20)
        await asyncio.wait_for(gone.wait(), 20)
        return said


async def test_connection_that_says_nothing_is_closed() -> None:
    assert await reply_to(Limits(head_s=SHORT_S)) == b""


async def test_head_that_does_not_end_is_refused() -> None:
    said = await reply_to(Limits(head_s=SHORT_S), HEAD)
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"too_slow" in said
    assert b"retry-after: 1" in said


async def test_empty_lines_between_requests_hold_no_place() -> None:
    async with listening(Limits(head_s=SHORT_S)) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with closing(writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n0")
            writer.write(b"\r\n")
            assert await asyncio.wait_for(reader.read(), 20) == b""


@pytest.mark.parametrize("part", [b"", b"a" * 10])
async def test_body_that_does_not_come_is_refused(part: bytes) -> None:
    said = await reply_to(Limits(body_step_s=SHORT_S, body_step_bytes=100), WITH_BODY + part)
    assert said.startswith(b"HTTP/1.1 408 ")


async def test_chunks_that_say_much_and_carry_nothing_are_no_progress() -> None:
    limits = Limits(body_step_s=SHORT_S, body_step_bytes=1_000)
    head = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    said = await reply_to(limits, head, b"1;" + b"x" * 5_000 + b"\r\na\r\n")
    assert said.startswith(b"HTTP/1.1 408 ")


async def test_answer_that_nobody_reads_is_cut() -> None:
    async with listening(Limits(stalled_s=SHORT_S)) as (port, gone):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1_000)
        with closing(writer):
            writer.write(b"GET /long HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.wait_for(gone.wait(), 20)
            received = 0
            while data := await reader.read(1_000_000):
                received += len(data)
        assert 0 < received < LONG_BYTES


async def test_clients_beyond_the_limit_are_told_to_come_back() -> None:
    async with listening(Limits(connections=1)) as (port, _):
        first_reader, first = await asyncio.open_connection("127.0.0.1", port)
        with closing(first):
            first.write(HEAD)
            await first.drain()
            reader, surplus = await asyncio.open_connection("127.0.0.1", port)
            with closing(surplus):
                surplus.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                said = await asyncio.wait_for(reader.read(), 20)
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"too_many_connections" in said
            assert b"retry-after: 1" in said
            first.write(b"content-length: 0\r\n\r\n")
            assert (await first_reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
