"""Responses with OpenAI's own client: at once, in the background, streamed, resumed elsewhere."""

from collections.abc import Iterable, Iterator
from uuid import uuid4

import openai
import pytest
from openai.types.responses import (
    Response,
    ResponseIncludable,
    ResponseStreamEvent,
    ResponseTextDeltaEvent,
)
from openai.types.responses.response_output_text import Logprob
from processes import Stack
from support import eventually, free_port

pytestmark = pytest.mark.process

MODEL = "preble-emulated"
LOGPROBS: ResponseIncludable = "message.output_text.logprobs"
ENDED = {"completed", "failed", "cancelled", "incomplete"}


def deltas(events: Iterable[ResponseStreamEvent]) -> list[ResponseTextDeltaEvent]:
    return [event for event in events if isinstance(event, ResponseTextDeltaEvent)]


def text_of(events: Iterable[ResponseStreamEvent]) -> str:
    return "".join(event.delta for event in deltas(events))


def without_deltas(events: Iterable[ResponseStreamEvent]) -> list[ResponseStreamEvent]:
    return [event for event in events if not isinstance(event, ResponseTextDeltaEvent)]


def numbers_of(events: Iterable[ResponseStreamEvent]) -> list[int]:
    """Not all of the client's types have one; all events of a response do."""
    return [int(getattr(event, "sequence_number")) for event in events]  # noqa: B009  # see above


def background(client: openai.OpenAI, tokens: int = 1_500) -> Response:
    return client.responses.create(
        model=MODEL, input="Tell me all", background=True, max_output_tokens=tokens
    )


def ended(client: openai.OpenAI, response_id: str) -> Response:
    eventually(lambda: client.responses.retrieve(response_id).status in ENDED)
    return client.responses.retrieve(response_id)


def test_a_text_is_answered(client: openai.OpenAI, other: openai.OpenAI) -> None:
    made = client.responses.create(
        model=MODEL, input="Tell me a story", instructions="Be brief", max_output_tokens=25,
        metadata={"run": "7"}, temperature=0.5, user="u",
    )  # fmt: skip
    assert (made.status, made.object) == ("incomplete", "response")
    assert made.incomplete_details
    assert made.incomplete_details.reason == "max_output_tokens"
    assert made.output_text
    assert (made.instructions, made.metadata, made.temperature, made.user) == (
        "Be brief", {"run": "7"}, 0.5, "u",
    )  # fmt: skip
    assert (made.tools, made.tool_choice, made.previous_response_id) == ([], "auto", None)
    assert made.usage
    assert made.usage.output_tokens == 25
    assert made.usage.total_tokens == made.usage.input_tokens + 25
    assert client.responses.retrieve(made.id) == made
    assert other.responses.retrieve(made.id) == made, "any api process knows it"


def test_a_conversation_is_answered(client: openai.OpenAI) -> None:
    made = client.responses.create(
        model=MODEL,
        input=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        ],
        max_output_tokens=5,
    )
    assert made.output_text


def test_logprobs_are_told_whole_and_streamed(client: openai.OpenAI, other: openai.OpenAI) -> None:
    made = client.responses.create(
        model=MODEL, input="Hello there", max_output_tokens=20, top_logprobs=1, include=[LOGPROBS]
    )
    assert made.top_logprobs == 1
    told = logprobs_of(made)
    assert len(told) == 20
    assert all((each.logprob, each.top_logprobs[0].token) == (0.0, each.token) for each in told)
    assert all(bytes(each.bytes).decode() == each.token for each in told)
    assert other.responses.retrieve(made.id, include=[LOGPROBS]) == made

    events = list(
        client.responses.create(
            model=MODEL, input="Hello there", max_output_tokens=20, top_logprobs=1, stream=True,
            include=[LOGPROBS],
        )
    )  # fmt: skip
    streamed = [each.token for event in deltas(events) for each in event.logprobs]
    [done] = [event for event in events if event.type == "response.output_text.done"]
    assert [each.token for each in done.logprobs] == [each.token for each in told]
    assert streamed == [each.token for each in told][: len(streamed)]
    assert {each.token for each in told[len(streamed) :]} <= {"<|im_end|>"}, "ends no text"
    last = events[-1]
    assert last.type == "response.incomplete"
    assert logprobs_of(last.response) == told


def logprobs_of(response: Response) -> list[Logprob]:
    """Of the one text of a response."""
    [item] = response.output
    assert item.type == "message"
    [part] = item.content
    assert part.type == "output_text"
    return part.logprobs or []


def test_cache_diagnostics_say_hit_or_miss(client: openai.OpenAI) -> None:
    text = f"{uuid4().hex} " + "The cat sat on the mat and thought. " * 40
    made = [client.responses.create(model=MODEL, input=text, max_output_tokens=2) for _ in range(2)]
    told = [each.prompt_cache_diagnostics.type for each in made if each.prompt_cache_diagnostics]
    assert told == ["cache_miss", "cache_hit"]
    computed, reused = (each.usage.input_tokens_details for each in made if each.usage)
    assert computed.cached_tokens == 0
    assert reused.cached_tokens > 300
    assert reused.cached_tokens + reused.cache_write_tokens == computed.cache_write_tokens


def test_in_the_background_it_goes_on_by_itself(
    client: openai.OpenAI, other: openai.OpenAI
) -> None:
    made = background(client)
    assert made.status in {"queued", "in_progress"}
    assert (made.background, made.output) == (True, [])
    done = ended(other, made.id)
    assert done.status == "incomplete"
    assert done.usage
    assert done.usage.output_tokens == 1_500
    assert done.created_at == made.created_at


def test_cancelling_ends_it_and_may_be_done_twice(
    client: openai.OpenAI, other: openai.OpenAI
) -> None:
    made = background(client, tokens=8_000)
    assert client.responses.cancel(made.id).status == "cancelled"
    assert other.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    done = background(client, tokens=2)
    ended(client, done.id)
    assert client.responses.cancel(done.id).status == "incomplete", "what has ended stays"


def test_deleting_hides_it_and_ends_its_job(client: openai.OpenAI, pool: Stack) -> None:
    made = background(client, tokens=8_000)
    client.responses.delete(made.id)
    for gone in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)
    assert pool.job(made.id.replace("resp_", "job_"))["status"] == "cancelled"


def test_a_stream_tells_all_that_its_response_is(client: openai.OpenAI) -> None:
    events = list(
        client.responses.create(model=MODEL, input="Tell me", max_output_tokens=40, stream=True)
    )
    kinds = [event.type for event in without_deltas(events)]
    assert kinds == [
        "response.created", "response.queued", "response.in_progress",
        "response.output_item.added", "response.content_part.added", "response.output_text.done",
        "response.content_part.done", "response.output_item.done", "response.incomplete",
    ]  # fmt: skip
    numbers = numbers_of(events)
    assert numbers == sorted(set(numbers))
    assert len(events) > len(kinds) + 3, "as it is made, not all at the end"
    last = events[-1]
    assert last.type == "response.incomplete"
    assert text_of(events) == last.response.output_text
    assert client.responses.retrieve(last.response.id) == last.response


def test_the_clients_own_helper_reads_the_stream(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Tell me", max_output_tokens=10) as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
    assert "".join(texts)


@pytest.mark.anyio
async def test_responses_are_made_asynchronously(async_client: openai.AsyncOpenAI) -> None:
    made = await async_client.responses.create(model=MODEL, input="Hi", max_output_tokens=9)
    stream = await async_client.responses.create(
        model=MODEL, input="Hi", max_output_tokens=9, stream=True
    )
    assert text_of([event async for event in stream]) == made.output_text
    assert (await async_client.responses.retrieve(made.id)) == made
    assert (await async_client.responses.cancel(made.id)).status == "incomplete"
    await async_client.responses.delete(made.id)


def half_of_a_stream(client: openai.OpenAI) -> tuple[str, list[ResponseStreamEvent]]:
    """A background stream whose client leaves in the middle of the text."""
    seen: list[ResponseStreamEvent] = []
    with client.responses.create(
        model=MODEL, input="Tell me all there is", background=True, stream=True,
        max_output_tokens=1_500,
    ) as stream:  # fmt: skip
        for event in stream:
            seen.append(event)
            if len(text_of(seen)) > 300:
                break
    assert seen[0].type == "response.created"
    return seen[0].response.id, seen


def resumed(
    client: openai.OpenAI, response_id: str, seen: list[ResponseStreamEvent]
) -> list[ResponseStreamEvent]:
    [number] = numbers_of(seen[-1:])
    return list(client.responses.retrieve(response_id, stream=True, starting_after=number))


def require_whole(
    client: openai.OpenAI, response_id: str, joined: list[ResponseStreamEvent]
) -> None:
    """As an undisturbed stream; only where the text is cut into deltas may differ."""
    undisturbed = list(client.responses.retrieve(response_id, stream=True))
    assert without_deltas(joined) == without_deltas(undisturbed)
    assert text_of(joined) == text_of(undisturbed)
    assert text_of(joined) == client.responses.retrieve(response_id).output_text
    numbers = numbers_of(joined)
    assert numbers == sorted(set(numbers))


def test_a_stream_is_resumed_while_it_runs_on_another_api(
    client: openai.OpenAI, other: openai.OpenAI
) -> None:
    response_id, seen = half_of_a_stream(client)
    assert other.responses.retrieve(response_id).status == "in_progress"
    rest = resumed(other, response_id, seen)
    assert len(deltas(rest)) > 3, "as it is made"
    require_whole(client, response_id, seen + rest)


def test_a_stream_is_resumed_after_its_end(client: openai.OpenAI, other: openai.OpenAI) -> None:
    response_id, seen = half_of_a_stream(client)
    ended(other, response_id)
    require_whole(client, response_id, seen + resumed(other, response_id, seen))


def test_a_stream_is_resumed_from_within_a_delta(client: openai.OpenAI) -> None:
    """Its numbers count characters."""
    response_id, _ = half_of_a_stream(client)
    whole = ended(client, response_id).output_text
    rest = client.responses.retrieve(response_id, stream=True, starting_after=4 + 17)
    assert text_of(rest) == whole[17:]


def read_until_killed(
    pool: Stack, api: str, stream: Iterable[ResponseStreamEvent]
) -> Iterator[ResponseStreamEvent]:
    """A stream whose api is killed in the middle of the text."""
    num_chars = 0
    for event in stream:
        num_chars += len(text_of([event]))
        if num_chars > 300 and api in pool.processes:
            pool.kill(api)
        yield event


def test_a_stream_survives_the_kill_of_its_api(pool: Stack, other: openai.OpenAI) -> None:
    port = str(free_port())
    pool.start("api3", port=port)
    eventually(lambda: "listening" in pool.log("api3"))
    seen: list[ResponseStreamEvent] = []
    url = f"http://127.0.0.1:{port}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as doomed:
        stream = doomed.responses.create(
            model=MODEL, input="Tell me all there is", background=True, stream=True,
            max_output_tokens=1_500,
        )  # fmt: skip
        with pytest.raises(openai.APIConnectionError):
            seen.extend(read_until_killed(pool, "api3", stream))
    assert seen[0].type == "response.created"
    response_id = seen[0].response.id
    require_whole(other, response_id, seen + resumed(other, response_id, seen))


def test_the_clients_own_helper_resumes(client: openai.OpenAI) -> None:
    response_id, seen = half_of_a_stream(client)
    [number] = numbers_of(seen[-1:])
    with client.responses.stream(response_id=response_id, starting_after=number) as stream:
        rest = [event.delta for event in stream if event.type == "response.output_text.delta"]
    whole = client.responses.retrieve(response_id).output_text
    assert text_of(seen) + "".join(rest) == whole


def test_what_was_not_streamed_tells_its_text_at_its_end(other: openai.OpenAI) -> None:
    made = background(other, tokens=300)
    events = list(other.responses.retrieve(made.id, stream=True))
    assert text_of(events) == ended(other, made.id).output_text
    assert numbers_of(events) == sorted(set(numbers_of(events)))


def test_starting_after_needs_a_stream(client: openai.OpenAI) -> None:
    made = client.responses.create(model=MODEL, input="hi", max_output_tokens=1)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.retrieve(made.id, extra_query={"starting_after": "3"})
    assert caught.value.param == "starting_after"
