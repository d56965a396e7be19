"""What OpenAI's own client makes of our errors; the jobs are ended by hand."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2
import openai
import pytest
from api_support import DownBroker, OneWorker, Serve
from generate_support import WITHIN_S
from openai.types.responses import Response, ResponseStreamEvent

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble.messages import JobFailure

pytestmark = pytest.mark.anyio

MODEL = "preble-emulated"
REFUSED = JobFailure("engine_refused", "too hot")
USED_UP = JobFailure("attempts_used_up", "three died")

Call = Callable[[openai.AsyncOpenAI], Awaitable[object]]


def sdk(client: httpx2.AsyncClient, *, api_key: str = "x", retries: int = 0) -> openai.AsyncOpenAI:
    """OpenAI's client, over a client of the api under test."""
    return openai.AsyncOpenAI(
        base_url="http://preble/v1", api_key=api_key, http_client=client, max_retries=retries
    )


async def chat(client: openai.AsyncOpenAI) -> object:
    return await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=4
    )


async def streamed_chat(client: openai.AsyncOpenAI) -> object:
    chunks = await client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "hello"}], max_tokens=4, stream=True
    )
    return [chunk async for chunk in chunks]


async def completion(client: openai.AsyncOpenAI) -> object:
    return await client.completions.create(model=MODEL, prompt="hello")


async def response(client: openai.AsyncOpenAI) -> object:
    return await client.responses.create(model=MODEL, input="hello", max_output_tokens=4)


CALLS = [chat, completion, response]


async def end_of(
    client: httpx2.AsyncClient, broker: MemoryBroker, call: Call, failure: JobFailure | None
) -> object:
    """What a call returns or raises whose job fails, or completes."""
    asked = asyncio.ensure_future(call(sdk(client)))
    worker = OneWorker(broker)
    async with asyncio.timeout(WITHIN_S):
        while not await broker.peek(10):  # noqa: ASYNC110  # see support.eventually
            await asyncio.sleep(0)
        await worker.assign_all()
        await worker.run_all()
        await (worker.fail_all(failure) if failure else worker.complete_all())
        return await asked


@pytest.mark.parametrize("call", CALLS)
async def test_without_the_key_it_is_an_authentication_error(
    serve: Serve, memory_broker: MemoryBroker, call: Call
) -> None:
    async with serve(Settings(api_key="secret"), memory_broker) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await call(sdk(client, api_key="wrong"))
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("call", CALLS)
async def test_a_refusal_of_the_engine_is_a_bad_request(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, call: Call
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await end_of(client, memory_broker, call, REFUSED)
    assert caught.value.code == "engine_refused"
    assert caught.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("call", CALLS)
async def test_a_failed_job_is_an_internal_server_error_that_is_not_tried_again(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, call: Call
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await end_of(client, memory_broker, call, USED_UP)
    assert caught.value.code == "attempts_used_up"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (await memory_broker.counts.stats()).totals["failed"] == 1


@pytest.mark.parametrize("call", CALLS)
async def test_a_cancelled_job_is_a_conflict_that_is_not_tried_again(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, call: Call
) -> None:
    asked = asyncio.ensure_future(call(sdk(client, retries=1)))
    async with asyncio.timeout(WITHIN_S):
        while not (waiting := await memory_broker.peek(10)):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        await memory_broker.cancel([waiting[0].job_id])
        with pytest.raises(openai.ConflictError) as caught:
            await asked
    assert caught.value.code == "cancelled"
    assert (await memory_broker.counts.stats()).totals["cancelled"] == 1


async def test_a_passed_deadline_is_a_conflict_that_is_not_tried_again(
    serve: Serve, settings: Settings
) -> None:
    clock = ManualClock()
    broker = MemoryBroker(clock=clock)
    async with serve(settings, broker) as client:
        made = sdk(client, retries=1)
        asked = asyncio.ensure_future(
            made.completions.create(model=MODEL, prompt="a", extra_body={"deadline_s": 5})
        )
        async with asyncio.timeout(WITHIN_S):
            while not await broker.peek(10):  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
            token = await broker.lead("scheduler", ttl_s=60)
            assert token
            clock.advance(6)
            await broker.reap(token, limit=10)
            with pytest.raises(openai.ConflictError) as caught:
                await asked
    assert caught.value.code == "deadline_passed"


async def test_an_error_within_a_stream_is_raised(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    with pytest.raises(openai.APIError) as caught:
        await end_of(client, memory_broker, streamed_chat, USED_UP)
    assert caught.value.code == "attempts_used_up"
    assert caught.value.type == "server_error"


async def test_a_failed_response_says_so_in_its_stream_and_when_it_is_retrieved(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    events: list[ResponseStreamEvent] = []

    async def streamed(client: openai.AsyncOpenAI) -> None:
        stream = await client.responses.create(model=MODEL, input="hello", stream=True)
        events.extend([event async for event in stream])

    await end_of(client, memory_broker, streamed, REFUSED)
    *before, last = events
    assert [event.type for event in before] == ["response.created", "response.queued"]
    assert last.type == "response.failed"
    failed = last.response
    assert failed.status == "failed"
    assert failed.error
    assert failed.error.code == "invalid_prompt"
    assert await sdk(client).responses.retrieve(failed.id) == failed


@pytest.mark.parametrize("call", [*CALLS, streamed_chat])
async def test_a_full_queue_is_a_rate_limit_error_that_says_when_to_come_back(
    serve: Serve, settings: Settings, call: Call
) -> None:
    async with serve(settings, MemoryBroker(max_jobs=0)) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await call(sdk(client))
    assert caught.value.code == "queue_full"
    headers = caught.value.response.headers
    assert (int(headers["retry-after"]) >= 1, headers["x-should-retry"]) == (True, "true")


@pytest.mark.parametrize("call", [*CALLS, streamed_chat])
async def test_a_queue_that_is_down_is_an_internal_server_error_to_be_tried_again(
    serve: Serve, settings: Settings, call: Call
) -> None:
    async with serve(settings, DownBroker()) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await call(sdk(client))
    assert caught.value.status_code == 503
    assert caught.value.response.headers["x-should-retry"] == "true"


async def test_unknown_models_and_responses_are_not_found(client: httpx2.AsyncClient) -> None:
    made = sdk(client)
    with pytest.raises(openai.NotFoundError) as caught:
        await made.models.retrieve("org/other")
    assert caught.value.code == "model_not_found"
    for unknown in ("resp_1", "nonsense", "resp_" + "0" * 32, "resp_a.b"):
        with pytest.raises(openai.NotFoundError) as caught:
            await made.responses.retrieve(unknown)
        assert (caught.value.code, caught.value.param) == ("response_not_found", "response_id")
        with pytest.raises(openai.NotFoundError):
            await made.responses.cancel(unknown)
        with pytest.raises(openai.NotFoundError):
            await made.responses.delete(unknown)


async def test_a_job_of_another_route_is_no_response(
    client: httpx2.AsyncClient,
) -> None:
    job_id = (await client.post("/v1/jobs", json={"prompt": "a"})).json()["id"]
    with pytest.raises(openai.NotFoundError):
        await sdk(client).responses.retrieve(job_id.replace("job_", "resp_"))


async def test_a_response_that_was_not_stored_cannot_be_retrieved(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    async def not_stored(client: openai.AsyncOpenAI) -> object:
        return await client.responses.create(model=MODEL, input="hello", store=False)

    made = await end_of(client, memory_broker, not_stored, None)
    assert isinstance(made, Response)
    assert made.output_text == "answer"
    with pytest.raises(openai.NotFoundError):
        await sdk(client).responses.retrieve(made.id)
