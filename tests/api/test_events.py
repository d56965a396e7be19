"""`GET /v1/jobs/{job_id}/events`: a job's life as it goes on, resumed exactly."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2
import pytest
from msgspec.structs import replace
from stream_support import HandWorker, listening, new_job

from preble.broker.memory import MemoryBroker
from preble.messages import ClaimedJob, JobId
from preble.tokenizer import Tokenizer
from preble_api import job_events
from preble_api.job_access import JobAccess
from preble_api.job_events import JobEvents, Mark, end_event
from preble_api.job_ids import JobIds
from preble_api.rendering import Rendering
from preble_api.routes.events import EventRoutes
from preble_api.threads import TextThreads
from preble_api.waits import Waits

pytestmark = pytest.mark.anyio

A = JobId("a")
Event = tuple[str, str, Any]
"""Its name, id and data."""


def parsed(event: bytes) -> Event:
    fields = dict(line.split(": ", 1) for line in event.decode().strip().split("\n"))
    return fields["event"], fields["id"], json.loads(fields["data"])


async def events_of(waits: Waits, since: str = "") -> AsyncGenerator[Event]:
    """What a client is told that has seen the event `since`."""
    events = JobEvents(Mark.from_id(since) if since else Mark())
    async with aclosing(waits.watch(A)) as sights:
        async for sight in sights:
            for event in events.of(sight) if sight else ():
                yield parsed(event)
            if sight and sight.view.state.is_terminal:
                yield parsed(end_event(sight.view))


def told(events: list[Event]) -> list[object]:
    """States, and texts with their places."""
    shown: list[object] = []
    for name, _, data in events:
        match name:
            case "state":
                shown.append((data["status"], data["attempt"]))
            case "delta":
                shown.append((data["from"], data["text"]))
            case _:
                shown.append(data["status"])
    return shown


async def logged(waits: Waits, worker: HandWorker, *, logprobs: int | None = None) -> ClaimedJob:
    """A job that keeps its tokens and runs."""
    made = waits.followed(new_job(), is_logged=True)
    spec = replace(made.spec, sampling=replace(made.spec.sampling, logprobs=logprobs))
    [job] = await worker.run(replace(made, spec=spec))
    return job


async def test_states_tokens_and_end_are_told() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        await broker.admit([[api.followed(new_job(), is_logged=True)]])
        async with aclosing(events_of(api)) as events:
            seen = [await anext(events)]
            [job] = await worker.begin()
            seen.append(await anext(events))
            await worker.tell(job, "hel")
            seen.append(await anext(events))
            await worker.tell(job, "lo", at=3)
            seen.append(await anext(events))
            await worker.end(job, "hello!")
            seen += [each async for each in events]
    assert told(seen) == [
        ("waiting", 0), ("running", 1), (0, "hel"), (3, "lo"), (5, "!"), "completed",
    ]  # fmt: skip
    assert seen[-1][2]["result"]["text"] == "hello!"


async def test_each_event_can_be_resumed_after_by_any_api() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api, listening(broker) as other:
        job = await logged(api, worker)
        for at, part in enumerate("héllo"):
            await worker.tell(job, part, at=at)
        async with aclosing(events_of(api)) as events:
            seen = [await anext(events), await anext(events)]
            await worker.end(job, "héllo wörld")
            seen += [each async for each in events]
        for at, (_, event_id, _) in enumerate(seen[:-1]):
            rest = [each async for each in events_of(other, event_id)]
            text = "".join(data["text"] for name, _, data in seen[: at + 1] if name == "delta")
            for name, _, data in rest:
                if name == "delta":
                    assert data["from"] == len(text)
                    text += data["text"]
            assert text == "héllo wörld"
            assert rest[-1][0] == "end"
            assert [name for name, _, _ in rest].count("state") == 0


async def test_who_comes_late_can_resume_too() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        job = await logged(api, worker)
        await worker.end(job, "hello")
        seen = [each async for each in events_of(api)]
        assert told(seen) == [(0, "hello"), "completed"]
        assert told([each async for each in events_of(api, seen[0][1])]) == ["completed"]


async def test_what_a_second_execution_says_takes_the_place_of_the_first() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api, listening(broker) as other:
        job = await logged(api, worker)
        await worker.tell(job, "hello")
        async with aclosing(events_of(api)) as events:
            seen = [await anext(events), await anext(events)]
            again = await worker.lose(job)
            await worker.tell(again, "help")
            await worker.end(again, "helped")
            seen += [each async for each in events]
        resumed = [each async for each in events_of(other, seen[1][1])]
    assert applied(seen) == applied(resumed, to="hello") == "helped"


def applied(events: list[Event], *, to: str = "") -> str:
    """The text that a client holds who does as the deltas say."""
    text = to
    for name, _, data in events:
        if name == "delta":
            text = text[: data["from"]] + data["text"]
    return text


async def test_logprobs_are_told_with_their_tokens_and_resumed_exactly() -> None:
    """Though a second execution says the same text with other tokens, or another text."""
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api, listening(broker) as other:
        job = await logged(api, worker, logprobs=1)
        await worker.tell(job, "hello")
        async with aclosing(events_of(api)) as events:
            seen = [await anext(events), await anext(events)]
            again = await worker.lose(job)
            await worker.tell(again, "help")
            await worker.end(again, "helped")
            seen += [each async for each in events]
        resumed = [each async for each in events_of(other, seen[1][1])]
    whole = seen[-1][2]["result"]["logprobs"]
    assert [each["token_id"] for each in whole] == list(b"helped")
    told = seen[1][2]["logprobs"]
    assert [each["token_id"] for each in told] == list(b"hello")
    assert tokens_applied(seen, to=[]) == tokens_applied(resumed, to=told) == whole
    assert applied(seen) == applied(resumed, to="hello") == "helped"


async def test_many_logprobs_come_in_events_that_are_not_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_events, "FEW_LOGPROBS", 6)
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        await worker.end(await logged(api, worker, logprobs=2), "hello")
        seen = [each async for each in events_of(api)]
        assert [len(data["logprobs"]) for name, _, data in seen if name == "delta"] == [2, 2, 1]
        for at, (_, event_id, _) in enumerate(seen[:-1]):
            rest = [each async for each in events_of(api, event_id)]
            assert [data for _, _, data in rest] == [data for _, _, data in seen[at + 1 :]]


def tokens_applied(events: list[Event], *, to: list[Any]) -> list[Any]:
    """The logprobs that a client holds who does as the deltas say."""
    for name, _, data in events:
        if name == "delta":
            to = to[: data["token_from"]] + data["logprobs"]
    return to


async def test_a_job_that_keeps_no_tokens_tells_states_and_its_end() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        [job] = await worker.run(api.followed(new_job(), is_streamed=True))
        async with aclosing(events_of(api)) as events:
            seen = [await anext(events)]
            await worker.tell(job, "hello")
            await worker.end(job, "hello")
            seen += [each async for each in events]
    assert told(seen) == [("running", 1), "completed"]


async def test_a_failed_job_says_why() -> None:
    broker = MemoryBroker()
    worker = HandWorker(broker)
    async with listening(broker) as api:
        job = await logged(api, worker)
        await worker.fail(job)
        seen = [each async for each in events_of(api)]
    assert seen[-1][2]["error"]["code"] == "engine_refused"


# Over HTTP.


async def job_by_post(client: httpx2.AsyncClient) -> str:
    reply = await client.post("/v1/jobs", json={"prompt": "hello", "stream": True})
    assert reply.status_code == 202
    job_id: str = reply.json()["id"]
    return job_id


async def test_a_posted_job_keeps_its_tokens_if_asked(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job_id = await job_by_post(client)
    worker = HandWorker(memory_broker)
    reading = asyncio.create_task(client.get(f"/v1/jobs/{job_id}/events"))
    [job] = await worker.begin()
    await worker.tell(job, "hel")
    await worker.end(job, "hello")
    reply = await reading
    assert reply.headers["content-type"].startswith("text/event-stream")
    head, *events = reply.content.strip().split(b"\n\n")
    assert head == b"retry: 1000"
    assert told([parsed(each) for each in events])[-1] == "completed"
    assert (
        "".join(data["text"] for name, _, data in map(parsed, events) if name == "delta") == "hello"
    )


async def test_after_the_end_nothing_more_is_told(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    job_id = await job_by_post(client)
    await memory_broker.cancel([JobId(job_id)])
    reply = await client.get(f"/v1/jobs/{job_id}/events")
    name, event_id, data = parsed(reply.content.strip().split(b"\n\n")[-1])
    assert (name, data["status"]) == ("end", "cancelled")
    again = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": event_id})
    assert (again.status_code, again.content) == (204, b"")


@pytest.mark.parametrize("event_id", ["nonsense", "1-2", "-1-2-3", "1-2-zz", "9" * 50 + "-1-a"])
async def test_an_id_that_was_never_sent_is_refused(
    client: httpx2.AsyncClient, event_id: str
) -> None:
    job_id = await job_by_post(client)
    reply = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": event_id})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "Last-Event-ID"


@pytest.mark.parametrize("job_id", ["job_1", "no%20id"])
async def test_an_unknown_job_has_no_events(client: httpx2.AsyncClient, job_id: str) -> None:
    assert (await client.get(f"/v1/jobs/{job_id}/events")).status_code == 404


async def test_a_stopped_api_ends_its_streams_with_a_comment(
    memory_broker: MemoryBroker, tokenizer: Tokenizer
) -> None:
    async with listening(memory_broker) as waits:
        await memory_broker.admit([[new_job()]])
        access = JobAccess(memory_broker, JobIds("default"), result_ttl_s=600)
        rendering = Rendering(TextThreads(1), tokenizer.token_texts)
        stream = EventRoutes(access, waits, rendering).stream(A, Mark())
        assert await anext(stream) == b"retry: 1000\n\n"
        assert b"waiting" in await anext(stream)
        waits.stop()
        [last] = [each async for each in stream]
    assert last.startswith(b": this api is being stopped")
