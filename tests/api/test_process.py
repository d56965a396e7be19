"""The api as a real process: real uvicorn, real Valkey, real sockets."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from support import eventually, free_port, unique, valkey

from preble.client import Client

pytestmark = pytest.mark.process

READY = "preble-api listening on "
MIB = 1024 * 1024


def start(**settings: object) -> subprocess.Popen[str]:
    """`python -m preble_api` with these settings on a free port, in a pool of its own."""
    given = {"port": 0, "pool": unique("api"), **settings}
    environ = {f"PREBLE_{name.upper()}": str(value) for name, value in given.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "preble_api"],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def running(**settings: object) -> Generator[tuple[subprocess.Popen[str], str], None, None]:
    """An api that accepts connections, and its URL."""
    with start(**settings) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith(READY)
            yield process, line.removeprefix(READY).strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(redis_url: str) -> Iterator[str]:
    with running(redis_url=redis_url) as (_, found):
        yield found


def refusal(**settings: object) -> str:
    """The one line with which the api refuses to start."""
    with start(**settings) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert out == ""
    [line] = err.splitlines()
    return line


def test_port_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal(port=port)
    assert line == f"preble-api: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    line = refusal(tokenizer=tmp_path / "none")
    assert "tokenizer" in line
    assert str(tmp_path / "none") in line
    assert "PREBLE_TOKENIZER" in line


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104  refused is the point
def test_open_to_others_without_a_key_is_one_line(host: str) -> None:
    assert "PREBLE_API_KEY" in refusal(host=host)


def test_api_open_to_this_host_alone_says_so(redis_url: str) -> None:
    with running(redis_url=redis_url) as (process, _):
        assert process.stderr
        assert "open: whoever can connect may" in process.stderr.readline()


def test_first_key_that_is_made_closes_it(redis_url: str) -> None:
    pool = unique("closing")
    with running(redis_url=redis_url, pool=pool) as (_, url):
        assert httpx2.get(f"{url}/v1/jobs").status_code == 200
        made = ["keys", "create", "--name", "n", "--redis-url", redis_url, "--pool", pool]
        key = subprocess.check_output([sys.executable, "-m", "preble", *made], text=True).strip()
        eventually(lambda: httpx2.get(f"{url}/v1/jobs").status_code == 401)
        credentials = {"authorization": f"Bearer {key}"}
        assert httpx2.get(f"{url}/v1/jobs", headers=credentials).status_code == 200


@pytest.mark.parametrize("origins", ["*", "app.example.com", "https://a.example.com/path"])
def test_what_is_no_origin_is_one_line(origins: str) -> None:
    assert "cors_origins" in refusal(cors_origins=origins)


def test_unknown_host_is_one_line() -> None:
    assert "cannot listen on no.such.host.invalid:0" in refusal(host="no.such.host.invalid")


def test_page_and_block_that_do_not_fit_are_one_line() -> None:
    line = refusal(block_size=40, page_size=16)
    assert "block_size 40 is not a multiple of page_size 16" in line


def test_an_api_that_starts_before_redis_says_so_and_waits_for_it(tmp_path: Path) -> None:
    port = free_port()
    with start(redis_url=f"redis://127.0.0.1:{port}/0") as process:
        try:
            assert process.stderr
            assert process.stdout
            assert "Redis is not available" in process.stderr.readline()
            with valkey(tmp_path, port):
                assert process.stdout.readline().startswith(READY)
        finally:
            process.kill()


def test_an_api_that_waits_for_redis_can_be_stopped() -> None:
    with start(redis_url=f"redis://127.0.0.1:{free_port()}/0") as process:
        assert process.stderr
        assert "Redis is not available" in process.stderr.readline()
        process.terminate()
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_other_pool_is_one_line(redis_url: str) -> None:
    pool = unique("mismatch")
    with running(redis_url=redis_url, pool=pool):
        line = refusal(redis_url=redis_url, pool=pool, context_length=1234)
    assert "1234" in line


def test_submit_and_poll(url: str) -> None:
    reply = httpx2.post(f"{url}/v1/jobs", json={"prompt": "hello"})
    assert reply.status_code == 202
    job = httpx2.get(url + reply.headers["location"]).json()
    assert (job["status"], job["position"]) == ("waiting", 0)
    assert httpx2.get(f"{url}/readyz").status_code == 200


class LosesTheFirstReply(httpx2.HTTPTransport):
    """A network that brings a request, and then fails once."""

    replies = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = super().handle_request(request)
        self.replies += 1
        if self.replies == 1:
            raise httpx2.ReadError("reset")
        return reply


def waiting_jobs(url: str) -> int:
    page = httpx2.get(f"{url}/metrics").text
    [count] = re.findall(r'^preble_pool_jobs\{state="waiting"\} (\d+)', page, re.MULTILINE)
    return int(count)


def test_client_whose_reply_was_lost_finds_its_jobs_and_makes_no_more(url: str) -> None:
    before = waiting_jobs(url)
    network = LosesTheFirstReply()
    with Client(url, transport=network, sleep=lambda _: None) as client:
        ids = client.submit([{"prompt": "a"}, {"prompt": "b"}])
        assert [client.get(each).id for each in ids] == ids
    assert network.replies == 4
    assert waiting_jobs(url) == before + 2


def test_connections_are_bounded(redis_url: str) -> None:
    with running(redis_url=redis_url, max_connections=1) as (_, url):
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as first:
            first.sendall(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n")
            assert first.recv(64).startswith(b"HTTP/1.1 200 ")
            reply = httpx2.get(f"{url}/livez")
            assert reply.status_code == 503
            assert reply.headers["retry-after"] == "1"
            assert reply.json()["error"]["code"] == "too_many_connections"


def test_50_mb_body_is_refused(url: str) -> None:
    reply = httpx2.post(
        f"{url}/v1/jobs", content=b"x" * 50 * MIB, headers={"content-type": "application/json"}
    )
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "body_too_large"


def test_endless_body_is_refused_while_it_comes(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(
            b"POST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for _ in range(33):
            sock.sendall(chunk)
        assert sock.recv(64).startswith(b"HTTP/1.1 413 ")


def test_endless_head_is_refused(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\nx-long: ")
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012  until it is refused
            for _ in range(64):
                sock.sendall(b"a" * MIB)


def test_queue_lost_is_503_and_readiness_says_so(tmp_path: Path) -> None:
    port = free_port()
    with (
        valkey(tmp_path, port) as server,
        running(redis_url=f"redis://127.0.0.1:{port}/0") as (_, url),
    ):
        assert httpx2.post(f"{url}/v1/jobs", json={"prompt": "hello"}).status_code == 202
        server.kill()
        server.wait()
        reply = httpx2.post(f"{url}/v1/jobs", json={"prompt": "hello"}, timeout=30)
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) >= 1
        eventually(lambda: httpx2.get(f"{url}/readyz").status_code == 503)
        assert httpx2.get(f"{url}/livez").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_in_peace(redis_url: str, number: signal.Signals) -> None:
    with running(redis_url=redis_url, auth="keys") as (process, _):
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == ""
