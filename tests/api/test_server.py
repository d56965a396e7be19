"""The bounds on a request's head, in the protocol itself."""

import asyncio

import msgspec
import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from preble_api.bounded_http import (
    MOST_HEAD_BYTES,
    MOST_HEADERS,
    MOST_LATE_BYTES,
    MOST_PIPELINED,
    MOST_URL_BYTES,
    SPARE_CONNECTIONS,
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
        self.unread_bytes = 0
        self.is_closed = self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closed:
            raise RuntimeError("the handler is closed")  # as uvloop does
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that reads nothing."""
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers with the body."""
    request = Request(scope, receive)
    await Response(await request.body())(scope, receive, send)


def connected(
    app: ASGIApp, state: ServerState | None = None, limits: Limits | None = None
) -> tuple[BoundedHttp, Wire]:
    config = uvicorn.Config(app, http=BoundedHttp, log_config=None)
    config.load()
    protocol = BoundedHttp(config, state or ServerState(), {}, limits=limits)
    wire = Wire()
    protocol.connection_made(wire)
    return protocol, wire


@pytest.fixture
async def connection() -> tuple[BoundedHttp, Wire]:
    return connected(ok)


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


async def test_requests_that_wait_on_one_connection_are_bounded(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    tiny = b"GET / HTTP/1.1\r\n\r\n"
    protocol.data_received(tiny * (1 + MOST_PIPELINED))
    assert not wire.is_closed
    protocol.data_received(tiny * 1_000)
    assert wire.is_closed
    assert len(protocol.pipeline) == MOST_PIPELINED
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert b"wait for an answer" in wire.written


async def test_clients_far_beyond_the_limit_take_no_file() -> None:
    state, limits = ServerState(), Limits(connections=1)
    wires = [connected(ok, state, limits)[1] for _ in range(1 + SPARE_CONNECTIONS + 2)]
    assert [wire.is_aborted for wire in wires[-3:]] == [False, True, True]
    assert not any(wire.is_aborted for wire in wires[:-2])


async def test_client_that_reads_slowly_is_awaited_and_one_that_stops_is_not(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    wire.unread_bytes = 1_000
    protocol.pause_writing()
    for wire.unread_bytes in (999, 500):
        protocol.check_reader()
        assert not wire.is_aborted
    protocol.check_reader()
    assert wire.is_aborted


async def test_body_may_go_on_after_its_answer_but_not_for_ever(
    connection: tuple[BoundedHttp, Wire],
) -> None:
    protocol, wire = connection
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    protocol.data_received(HEAD)
    await asyncio.gather(*protocol.tasks)
    for _ in range(MOST_LATE_BYTES // 0x10000):
        protocol.data_received(chunk)
    assert not wire.is_closed
    protocol.data_received(chunk)
    assert wire.is_closed
    assert wire.written.count(b"HTTP/1.1 ") == 1


UPGRADE = (
    b"POST / HTTP/1.1\r\nhost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\ncontent-length: 5\r\n\r\n"
)


@pytest.mark.parametrize("cut", [10, len(UPGRADE), len(UPGRADE) + 2])
async def test_upgrade_is_ignored_and_the_body_kept(cut: int) -> None:
    protocol, wire = connected(echo)
    sent = (UPGRADE + b"hello") * 2
    protocol.data_received(sent[:cut])
    protocol.data_received(sent[cut:])
    while protocol.tasks:
        await asyncio.gather(*protocol.tasks)
    assert wire.written.count(b"HTTP/1.1 200 ") == 2
    assert wire.written.count(b"\r\n\r\nhello") == 2
    assert not wire.is_closed


async def test_tunnel_is_refused_by_its_name(connection: tuple[BoundedHttp, Wire]) -> None:
    protocol, wire = connection
    protocol.data_received(b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n")
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert b"CONNECT is not offered" in wire.written
