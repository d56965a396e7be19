"""Streams of OpenAI's routes that are silent, that break off, or whose prompts are several."""

import asyncio
from typing import Any

import httpx2
import msgspec
import openai
import pytest
from api_support import OneWorker, Serve
from generate_support import WITHIN_S
from msgspec.structs import replace
from openai.types.responses import ResponseErrorEvent

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble_api import waits

pytestmark = pytest.mark.anyio

MODEL = "preble-emulated"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": True}
PROMPTS = {"model": MODEL, "prompt": ["hello", "there"], "stream": True}
RESPONSE = {"model": MODEL, "input": "hello", "stream": True}

BODIES = {
    "/v1/chat/completions": CHAT, "/v1/completions": PROMPTS, "/v1/responses": RESPONSE,
}  # fmt: skip


def data_of(reply: httpx2.Response) -> list[dict[str, Any]]:
    """The events' data but for `[DONE]`."""
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line[:5] == "data:"]
    return [msgspec.json.decode(line) for line in lines if line != "[DONE]"]


async def completed(broker: MemoryBroker, number: int) -> None:
    """Run and complete so many jobs, once they are in the queue."""
    worker = OneWorker(broker)
    async with asyncio.timeout(WITHIN_S):
        while len(await broker.peek(10)) < number:  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
    await worker.assign_all()
    await worker.run_all()
    await worker.complete_all()


@pytest.mark.parametrize("path", BODIES)
async def test_a_silent_stream_shows_signs_of_life(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.0)
    asked = asyncio.ensure_future(client.post(path, json=BODIES[path]))
    async with asyncio.timeout(WITHIN_S):
        while not await memory_broker.peek(10):  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
    for _ in range(100):  # turns of the event loop, each a silence
        await asyncio.sleep(0)
    await completed(memory_broker, 2 if path == "/v1/completions" else 1)
    reply = await asked
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert ": waiting\n\n" in reply.text
    assert data_of(reply)


async def test_a_stream_of_chat_that_breaks_off_raises(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> None:
    short = replace(settings, result_ttl_s=1)
    async with serve(short, memory_broker) as client:
        sdk = openai.AsyncOpenAI(base_url="http://preble/v1", api_key="x", http_client=client)
        stream = await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True
        )
        with pytest.raises(openai.APIError, match="has not ended yet"):
            _ = [chunk async for chunk in stream]


async def test_a_stream_of_a_response_that_breaks_off_may_be_resumed(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> None:
    short = replace(settings, result_ttl_s=1)
    async with serve(short, memory_broker) as client:
        broken = data_of(await client.post("/v1/responses", json=RESPONSE))
        await completed(memory_broker, 1)
        path = f"/v1/responses/{broken[0]['response']['id']}"
        number = broken[-1]["sequence_number"]
        rest = data_of(await client.get(f"{path}?stream=true&starting_after={number}"))
        whole = data_of(await client.get(f"{path}?stream=true"))
    error = msgspec.convert(broken[-1], dict[str, Any])
    assert ResponseErrorEvent.model_validate(error).code == "wait_ended"
    assert broken[:-1] + rest == whole
    assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "answer"


async def test_all_prompts_of_a_stream_end(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    asked = asyncio.ensure_future(client.post("/v1/completions", json=PROMPTS))
    await completed(memory_broker, 2)
    reply = await asked
    texts = ["", ""]
    for chunk in data_of(reply):
        [choice] = chunk["choices"]
        texts[choice["index"]] += choice["text"]
    assert texts == ["answer", "answer"]
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_one_prompt_that_fails_ends_the_stream_of_all(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    asked = asyncio.ensure_future(client.post("/v1/completions", json=PROMPTS))
    async with asyncio.timeout(WITHIN_S):
        while len(waiting := await memory_broker.peek(10)) < 2:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        await memory_broker.cancel([waiting[1].job_id])
        reply = await asked
    assert data_of(reply)[-1]["error"]["code"] == "cancelled"
    view = await memory_broker.view(waiting[0].job_id)
    assert view
    assert not view.state.is_terminal, "the other goes on"
