"""A background stream is gone on with, after its job was run again."""

import asyncio
from collections.abc import Sequence

import httpx2
import openai
import pytest
from openai.types.responses import ResponseTextDeltaEvent as DeltaEvent
from stream_support import HandWorker

from preble.broker.memory import MemoryBroker
from preble.messages import JobId

pytestmark = pytest.mark.anyio

BODY = {"model": "preble-emulated", "input": "hello", "background": True, "stream": True}
BEFORE_TEXT = 4


async def response_of(client: httpx2.AsyncClient, broker: MemoryBroker, runs: Sequence[str]) -> str:
    """The id of a response whose executions said this, one after the other; the last one ended."""
    worker = HandWorker(broker)
    asked = asyncio.ensure_future(client.post("/v1/responses", json=BODY))
    async with asyncio.timeout(20):
        while not await broker.peek(10):  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        [job] = await worker.begin()
        for text in runs[:-1]:
            await worker.tell(job, text)
            job = await worker.lose(job)
        await worker.tell(job, runs[-1])
        await worker.end(job, runs[-1])
        await asked
    return JobId(job.job_id).replace("job_", "resp_")


async def test_each_number_of_a_live_stream_is_an_event_of_later_ones(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    """OpenAI's helper fetches all events, and drops those that it had."""
    worker = HandWorker(memory_broker)
    asked = asyncio.ensure_future(client.post("/v1/responses", json=BODY))
    async with asyncio.timeout(20):
        while not await memory_broker.peek(10):  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        [job] = await worker.begin()
        for at, text in ((0, "hel"), (3, "lo"), (5, " there")):
            await worker.tell(job, text, at=at)
        await worker.end(job, "hello there, you")
        await asked
    events = await sdk(client).responses.retrieve(job.job_id.replace("job_", "resp_"), stream=True)
    told = [(e.sequence_number, e.delta) async for e in events if isinstance(e, DeltaEvent)]
    assert told == [(7, "hel"), (9, "lo"), (15, " there"), (20, ", you")]


def sdk(client: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url="http://preble/v1", api_key="x", http_client=client, max_retries=0
    )


async def rest_of(client: httpx2.AsyncClient, response_id: str, seen_chars: int) -> str:
    events = await sdk(client).responses.retrieve(
        response_id, stream=True, starting_after=BEFORE_TEXT + seen_chars
    )
    return "".join([e.delta async for e in events if isinstance(e, DeltaEvent)])


@pytest.mark.parametrize(
    ("runs", "seen_chars"),
    [
        (["hello there"], 5),
        (["hel", "hello there"], 3),  # says the same again
        (["hello you", "hello there"], 6),  # seen no further than they agree
        (["hello you", "hello there"], 0),
    ],
)
async def test_a_text_that_stayed_the_same_goes_on(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, runs: list[str], seen_chars: int
) -> None:
    response_id = await response_of(client, memory_broker, runs)
    assert await rest_of(client, response_id, seen_chars) == "hello there"[seen_chars:]


async def test_a_text_that_changed_is_not_gone_on_with(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    """Else the client would join the beginning of one text and the end of another."""
    response_id = await response_of(client, memory_broker, ["hello you", "hello there"])
    with pytest.raises(openai.ConflictError) as caught:
        await rest_of(client, response_id, 7)
    assert (caught.value.code, caught.value.param) == ("stream_diverged", "starting_after")
    assert await rest_of(client, response_id, 0) == "hello there", "from its beginning it may"
