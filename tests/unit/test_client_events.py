"""The events of a job over connections that break: nothing twice, nothing lost, and an end."""

import asyncio
import json
from collections.abc import Callable

import httpx2
import pytest
from fake_api import job_reply, problem

from preble import AsyncClient, Client
from preble.client import (
    EndEvent,
    JobEvent,
    JobUnknown,
    LikelyToken,
    OutputLogprob,
    ServerUnreachable,
    StateEvent,
    TextEvent,
    UnexpectedReply,
)
from preble.clock import ManualClock

Handler = Callable[[httpx2.Request], httpx2.Response]


def block(kind: str, event_id: str, data: object) -> bytes:
    return f"event: {kind}\nid: {event_id}\ndata: {json.dumps(data)}\n\n".encode()


RUNNING = block("state", "3-0-0", {"status": "running", "attempt": 1, "instance": "gpu0"})
ONCE = block("delta", "3-4-a", {"from": 0, "text": "Once"})
UPON = block("delta", "3-9-b", {"from": 4, "text": " upon"})
END = block("end", "end", job_reply("a", text="Once upon"))
QUIET = b"retry: 1000\n\n: still here\n\n"


class Wire:
    """An api that sends these pieces, one for each connection, and hears where they resume."""

    def __init__(self, *pieces: bytes | int) -> None:
        self._pieces = list(pieces)
        self.resumed_at: list[str | None] = []
        self.submitted: list[dict[str, object]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            self.submitted = json.loads(request.content)
            return httpx2.Response(202, json={"data": [{"id": "a"}]})
        assert request.url.path == "/v1/jobs/a/events"
        self.resumed_at.append(request.headers.get("last-event-id"))
        piece = self._pieces.pop(0)
        return problem(piece) if isinstance(piece, int) else httpx2.Response(200, content=piece)


def events(kind: str, handler: Handler, job: str | dict[str, object] = "a") -> list[JobEvent]:
    clock = ManualClock()
    transport = httpx2.MockTransport(handler)
    if kind == "sync":
        with Client(
            "http://api.test", transport=transport, clock=clock, sleep=clock.advance
        ) as client:
            return list(client.stream(job))

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    async def collect() -> list[JobEvent]:
        async with AsyncClient(
            "http://api.test", transport=transport, clock=clock, sleep=sleep
        ) as client:
            return [event async for event in client.stream(job)]

    return asyncio.run(collect())


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


def text_of(told: list[JobEvent]) -> str:
    return "".join(event.text for event in told if isinstance(event, TextEvent))


@KINDS
def test_a_whole_stream_on_one_connection(kind: str) -> None:
    told = events(kind, Wire(QUIET + RUNNING + ONCE + UPON + END))
    assert told[0] == StateEvent("running", 1, "gpu0")  # type: ignore[arg-type]  # a StrEnum
    assert text_of(told) == "Once upon"
    assert isinstance(told[-1], EndEvent)
    assert told[-1].job.result
    assert told[-1].job.result.text == "Once upon"


@KINDS
def test_tokens_come_with_their_logprobs(kind: str) -> None:
    told = {"token_id": 5, "logprob": -0.5, "top": [{"token_id": 6, "logprob": -0.25}]}
    data = {"from": 4, "text": "", "token_from": 1, "logprobs": [told]}
    reply = job_reply("a")
    reply["result"] |= {"logprobs": [told]}
    end = block("end", "end", reply)
    wire = Wire(RUNNING + ONCE + block("delta", "3-4-a-2-c", data) + end)
    *_, once, more, last = events(kind, wire)
    logprob = OutputLogprob(5, -0.5, (LikelyToken(6, -0.25),))
    assert once == TextEvent(0, "Once")
    assert more == TextEvent(4, "", 1, (logprob,))
    assert isinstance(last, EndEvent)
    assert last.job.result
    assert last.job.result.logprobs == (logprob,)


@KINDS
def test_a_broken_one_goes_on_after_the_last_event_that_came_whole(kind: str) -> None:
    wire = Wire(RUNNING + ONCE + UPON[:-5], 503, UPON, QUIET, END)
    told = events(kind, wire)
    assert text_of(told) == "Once upon"
    assert wire.resumed_at == [None, "3-4-a", "3-4-a", "3-9-b", "3-9-b"]


@KINDS
def test_a_new_job_is_streamed_as_it_is_made(kind: str) -> None:
    wire = Wire(ONCE + END)
    assert text_of(events(kind, wire, {"prompt": "x"})) == "Once"
    assert wire.submitted == [{"prompt": "x", "stream": True}]


@KINDS
def test_a_job_that_is_unknown_is_told(kind: str) -> None:
    with pytest.raises(JobUnknown):
        events(kind, Wire(404))


@KINDS
def test_an_api_that_never_tells_the_end_is_given_up(kind: str) -> None:
    with pytest.raises(ServerUnreachable, match="again and again"):
        events(kind, Wire(RUNNING, *[QUIET] * 1_000))


def test_events_of_a_newer_api_are_passed_over() -> None:
    assert text_of(events("sync", Wire(block("news", "1", {}) + ONCE + END))) == "Once"


def test_another_server_is_noticed() -> None:
    with pytest.raises(UnexpectedReply):
        events("sync", Wire(b"event: delta\ndata: <html>\n\n"))


def test_a_connection_that_breaks_in_the_middle_is_opened_again() -> None:
    wire = Wire(ONCE + END)
    attempts: list[int] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        attempts.append(1)
        if len(attempts) == 1:
            raise httpx2.ReadError("reset")
        return wire(request)

    assert text_of(events("sync", handler)) == "Once"
