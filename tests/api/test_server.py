"""The bounds on a request's head, in the protocol itself."""

import asyncio

import msgspec
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from preble_api.bounded_http import (
    MOST_HEAD_BYTES,
    MOST_HEADERS,
    MOST_URL_BYTES,
    BoundedHttp,
    Limits,
)
from preble_api.schemas import Problem

pytestmark = pytest.mark.anyio

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """Keeps what is written to the client."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closed:
            raise RuntimeError("the handler is closed")  # as uvloop does
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads nothing."""
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def connection() -> tuple[BoundedHttp, Wire]:
    config = uvicorn.Config(ok, http=BoundedHttp, log_config=None)
    config.load()
    protocol = BoundedHttp(config, ServerState(), {})
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def test_head_may_come_in_pieces(connection: tuple[BoundedHttp, Wire]) -> None:
    protocol, wire = connection
    for byte in HEAD:
        protocol.data_received(bytes([byte]))
    await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nx: "])
async def test_head_without_end_is_refused(
    connection: tuple[BoundedHttp, Wire], begin: bytes
) -> None:
    protocol, wire = connection
    protocol.data_received(begin)
    for _ in range(MOST_HEAD_BYTES // 1024):
        protocol.data_received(b"a" * 1024)
    assert not wire.is_closed
    protocol.data_received(b"a")
    assert wire.is_closed
    assert wire.written.startswith(b"HTTP/1.1 400 ")


async def test_head_that_is_too_long_and_no_http_is_refused_once(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nx: ")
    protocol.data_received(b"a" * MOST_HEAD_BYTES + b"\0")
    assert wire.written.count(b"HTTP/1.1 400 ") == 1


async def test_what_is_no_http_is_answered_as_every_error_is(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    protocol.data_received(b"\x16\x03\x01 hello\r\n\r\n")
    assert wire.is_closed
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json\r\n" in head
    problem = msgspec.json.decode(body, type=Problem)
    assert (problem.status, problem.error.code) == (400, "invalid_http")
    request_id = problem.instance.removeprefix("urn:preble:request:")
    assert b"x-request-id: " + request_id.encode() in head


@pytest.mark.parametrize("more", [b"", HEAD])
async def test_answer_behind_which_comes_no_http_is_dropped_in_silence(
    connection: tuple[BoundedHttp, Wire], more: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    protocol, wire = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" + more + b"\0\r\n")
    await asyncio.gather(*protocol.tasks)
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_client_that_leaves_with_requests_unanswered_is_no_error(
    connection: tuple[BoundedHttp, Wire], caplog: pytest.LogCaptureFixture
) -> None:
    protocol, wire = connection
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2)
    wire.close()
    protocol.connection_lost(None)
    await asyncio.gather(*protocol.tasks)
    assert not caplog.records


async def test_body_before_a_head_does_not_count(connection: tuple[BoundedHttp, Wire]) -> None:
    protocol, wire = connection
    size = 2 * MOST_HEAD_BYTES
    protocol.data_received(HEAD)
    protocol.data_received(b"%x\r\n%b\r\n0\r\n\r\nGET / HTT" % (size, b"a" * size))
    protocol.data_received(b"P/1.1\r\n")
    assert not wire.is_closed


async def test_headers_after_the_body_are_not_kept(connection: tuple[BoundedHttp, Wire]) -> None:
    protocol, _ = connection
    protocol.data_received(HEAD + b"1\r\na\r\n0\r\n")
    protocol.data_received(b"late: 1\r\n" * 10_000)
    assert [name for name, _ in protocol.headers] == [b"host", b"transfer-encoding"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * MOST_URL_BYTES + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * (MOST_HEADERS + 1), 431),
    ],
)
async def test_long_urls_and_many_headers_are_refused(
    connection: tuple[BoundedHttp, Wire], head: bytes, status: int
) -> None:
    protocol, wire = connection
    protocol.data_received(head + b"content-length: 5\r\n\r\nhello" + HEAD)
    assert wire.is_closed
    assert not protocol.tasks
    assert wire.written.startswith(f"HTTP/1.1 {status} ".encode())
    assert wire.written.count(b"HTTP/1.1 ") == 1


async def test_body_that_goes_on_is_awaited_and_one_that_stops_is_not(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    step = Limits().body_step_bytes
    protocol.data_received(HEAD + b"%x\r\n" % (2 * step) + b"a" * step)
    protocol.check_body()
    assert not wire.is_closed
    protocol.data_received(b"a" * (step - 1))
    protocol.check_body()
    assert wire.written.startswith(b"HTTP/1.1 408 ")


async def test_client_is_not_blamed_for_what_is_not_read(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    protocol.data_received(HEAD + b"100000\r\n" + b"a" * 100_000)
    for _ in range(5):
        protocol.check_body()
    assert not wire.is_closed


async def test_body_that_stops_after_its_answer_gets_no_second_one(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    protocol.data_received(HEAD + b"a\r\n")
    await asyncio.gather(*protocol.tasks)
    protocol.check_body()
    assert wire.is_closed
    assert wire.written.count(b"HTTP/1.1 ") == 1
