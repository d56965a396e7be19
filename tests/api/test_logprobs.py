"""Logprobs on every surface: whole, streamed, of characters in parts, and bounded."""

import asyncio
import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from api_support import Serve
from msgspec.structs import replace
from stream_support import WITHIN_S, HandWorker, logprobs_of
from support import completed, record

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import ClaimedJob, TokenDelta
from preble.tokenizer import Tokenizer
from preble_api import rendering

pytestmark = pytest.mark.anyio

MODEL = "preble-emulated"
CHAT, COMPLETIONS, GENERATE = "/v1/chat/completions", "/v1/completions", "/generate"
RESPONSES = "/v1/responses"
TEXT = "naïve 💥 cats"
BODIES: Mapping[str, dict[str, Any]] = {
    CHAT: {
        "model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 32,
        "logprobs": True, "top_logprobs": 2,
    },
    COMPLETIONS: {"model": MODEL, "prompt": "hi", "max_tokens": 32, "logprobs": 2},
    GENERATE: {"text": "hi", "return_logprob": True, "top_logprobs_num": 2},
    RESPONSES: {
        "model": MODEL, "input": "hi", "max_output_tokens": 32, "top_logprobs": 2,
        "include": ["message.output_text.logprobs"],
    },
}  # fmt: skip


class Engine:
    """Makes one text for each job, told in pieces that begin and end within characters."""

    def __init__(self, broker: MemoryBroker, tokenizer: Tokenizer) -> None:
        self._broker = broker
        self._worker = HandWorker(broker)
        [ids] = tokenizer.encode([TEXT])
        self.ids = tuple(ids)
        self.tokens = [tokenizer.token_texts.of(token_id) for token_id in ids]

    async def answer(self, asked: asyncio.Task[httpx2.Response]) -> httpx2.Response:
        async with asyncio.timeout(WITHIN_S):
            while not (waiting := await self._broker.peek(100)):  # noqa: ASYNC110  see eventually
                await asyncio.sleep(0)
            jobs = await self._worker.begin()
            assert len(jobs) == len(waiting)
            for job in jobs:
                await self._tell(job)
                await self._end(job)
            return await asked

    async def _tell(self, job: ClaimedJob) -> None:
        """Text lags behind tokens until its characters are whole."""
        told_chars = 0
        for at in range(0, len(self.ids), 3):
            ids = self.ids[at : at + 3]
            known = b"".join(token.bytes or b"" for token in self.tokens[: at + 3])
            text = known.decode(errors="ignore")[told_chars:]
            delta = TokenDelta(
                job.job_id, job.execution_id, at, told_chars, ids, text,
                logprobs_of(job.spec, ids),
            )  # fmt: skip
            told_chars += len(text)
            by_inbox = {job.spec.inbox: [delta]} if job.spec.is_streamed else {}
            await self._broker.streams.publish(by_inbox, [delta] if job.spec.is_logged else [])
            for _ in range(20):
                await asyncio.sleep(0)

    async def _end(self, job: ClaimedJob) -> None:
        outcome = completed(job.lease, TEXT)
        assert outcome.result
        told = logprobs_of(job.spec, self.ids)
        result = replace(outcome.result, output_ids=self.ids, logprobs=told)
        assert await self._broker.finish(record(), [replace(outcome, result=result)]) == [True]


@pytest.fixture
def engine(memory_broker: MemoryBroker, tokenizer: Tokenizer) -> Engine:
    return Engine(memory_broker, tokenizer)


@pytest.fixture(
    params=[rendering.FEW_LOGPROBS, 0], ids=["on the spot", "on a thread"], autouse=True
)
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "FEW_LOGPROBS", request.param)


async def ask(
    client: httpx2.AsyncClient, engine: Engine, path: str, **more: object
) -> httpx2.Response:
    reply = await engine.answer(asyncio.create_task(client.post(path, json=BODIES[path] | more)))
    assert reply.status_code == 200, reply.text
    return reply


def events_of(reply: httpx2.Response) -> list[dict[str, Any]]:
    lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_chat_tells_its_tokens_with_their_bytes(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    [choice] = (await ask(client, engine, CHAT)).json()["choices"]
    assert choice["logprobs"]["refusal"] is None
    content = choice["logprobs"]["content"]
    assert bytes(byte for each in content for byte in each["bytes"]).decode() == TEXT
    assert [each["logprob"] for each in content] == [-token_id / 8 for token_id in engine.ids]
    assert [len(each["top_logprobs"]) for each in content] == [2] * len(engine.ids)
    assert content[0]["top_logprobs"][0] == {
        "token": content[0]["token"], "logprob": 0.0, "bytes": content[0]["bytes"],
    }  # fmt: skip
    parts = [each["token"] for each in content if each["bytes"][0] in {0xF0, 0x9F, 0x92, 0xA5}]
    assert "".join(parts) == r"\xf0\x9f\x92\xa5", "parts of a character are told as bytes"


async def test_a_completion_tells_its_tokens_in_the_older_form(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    [choice] = (await ask(client, engine, COMPLETIONS)).json()["choices"]
    told = choice["logprobs"]
    assert told["token_logprobs"] == [-token_id / 8 for token_id in engine.ids]
    assert {len(each) for each in told.values()} == {len(engine.ids)}
    for token, offset, top in zip(
        told["tokens"], told["text_offset"], told["top_logprobs"], strict=True
    ):
        assert token.startswith(r"bytes:\x") or TEXT[offset:].startswith(token)
        assert 2 <= len(top) <= 3, "as many as asked, and the token itself"
        assert token in top
    assert told["tokens"][-1] == " cats"[-len(told["tokens"][-1]) :]


async def test_without_top_logprobs_a_completion_tells_the_token_alone(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    [choice] = (await ask(client, engine, COMPLETIONS, logprobs=0)).json()["choices"]
    told = choice["logprobs"]
    alone = zip(told["tokens"], told["token_logprobs"], strict=True)
    assert told["top_logprobs"] == [{token: logprob} for token, logprob in alone]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_the_chunks_of_a_stream_tell_what_the_whole_answer_tells(
    client: httpx2.AsyncClient, engine: Engine, path: str
) -> None:
    [whole] = (await ask(client, engine, path)).json()["choices"]
    chunks = [
        each["choices"][0] for each in events_of(await ask(client, engine, path, stream=True))
    ]
    told = [each["logprobs"] for each in chunks if each["logprobs"]]
    names = ["content"] if path == CHAT else list(whole["logprobs"])
    for name in names:
        assert [each for part in told for each in part[name]] == whole["logprobs"][name]
    assert len(told) == -(-len(engine.ids) // 3), "as they are made, with text or without"
    texts = [each["delta"].get("content") if path == CHAT else each["text"] for each in chunks]
    assert "".join(text or "" for text in texts) == TEXT


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_who_does_not_ask_is_told_none(
    client: httpx2.AsyncClient, engine: Engine, path: str, *, is_streamed: bool
) -> None:
    not_asked = {"logprobs": None, "top_logprobs": None} if path == CHAT else {"logprobs": None}
    reply = await ask(client, engine, path, stream=is_streamed, **not_asked)
    for answer in events_of(reply) if is_streamed else [reply.json()]:
        assert answer["choices"][0]["logprobs"] is None


def parts_of(response: dict[str, Any]) -> list[dict[str, Any]]:
    """The text of a response, with its logprobs."""
    return [part for item in response["output"] for part in item["content"]]


def steps_of(reply: httpx2.Response) -> list[dict[str, Any]]:
    """The events of a response's stream."""
    lines = reply.text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


async def test_a_response_tells_its_tokens_as_a_chat_does(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    [choice] = (await ask(client, engine, CHAT)).json()["choices"]
    made = (await ask(client, engine, RESPONSES)).json()
    [part] = parts_of(made)
    assert (part["text"], part["logprobs"]) == (TEXT, choice["logprobs"]["content"])
    assert made["top_logprobs"] == 2
    shown = await client.get(f"{RESPONSES}/{made['id']}?include[]=message.output_text.logprobs")
    assert shown.json() == made


async def test_the_events_of_a_response_tell_what_it_tells(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    """Each token with the delta that brings the character which it ends."""
    steps = steps_of(await ask(client, engine, RESPONSES, stream=True))
    by_kind = {each["type"]: each for each in steps}
    [part] = parts_of(steps[-1]["response"])
    deltas = [each for each in steps if each["type"] == "response.output_text.delta"]
    assert len(deltas) > 1
    assert [told for each in deltas for told in each["logprobs"]] == part["logprobs"]
    for each in deltas:
        told = b"".join(bytes(token["bytes"]) for token in each["logprobs"])
        assert told.decode(errors="replace").strip("\ufffd") == each["delta"]
    assert by_kind["response.output_text.done"]["logprobs"] == part["logprobs"]
    assert by_kind["response.content_part.done"]["part"] == part


async def test_a_resumed_stream_tells_the_tokens_that_its_client_lacks(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    reply = await ask(client, engine, RESPONSES, stream=True, background=True)
    steps = steps_of(reply)
    path = f"{RESPONSES}/{steps[0]['response']['id']}"
    for at, seen in enumerate(steps):
        query = f"stream=true&starting_after={seen['sequence_number']}"
        rest = steps_of(await client.get(f"{path}?{query}"))
        joined = [*steps[: at + 1], *rest]
        told = [token for each in joined for token in each.get("logprobs", ())]
        assert told == [token for each in steps for token in each.get("logprobs", ())]


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_response_tells_none_that_nobody_asked_for(
    client: httpx2.AsyncClient, engine: Engine, *, is_streamed: bool
) -> None:
    not_asked = {"include": None, "top_logprobs": None}
    reply = await ask(client, engine, RESPONSES, stream=is_streamed, **not_asked)
    steps = steps_of(reply) if is_streamed else [{"response": reply.json()}]
    assert all(each.get("logprobs", []) == [] for each in steps)
    assert parts_of(steps[-1]["response"])[0]["logprobs"] == []


@pytest.mark.parametrize("has_texts", [False, True])
async def test_generate_tells_them_as_sglang_does(
    client: httpx2.AsyncClient, engine: Engine, *, has_texts: bool
) -> None:
    reply = await ask(
        client, engine, GENERATE, return_text_in_logprobs=has_texts, logprob_start_len=-1
    )
    meta = reply.json()["meta_info"]
    texts = [token.text if has_texts else None for token in engine.tokens]
    assert meta["output_token_logprobs"] == [
        [-token_id / 8, token_id, text] for token_id, text in zip(engine.ids, texts, strict=True)
    ]
    assert meta["output_token_logprobs_length"] == len(engine.ids)
    assert (meta["input_token_logprobs"], meta["input_top_logprobs"]) == ([], [])
    assert [each[0] for each in meta["output_top_logprobs"]] == [
        [0.0, token_id, text] for token_id, text in zip(engine.ids, texts, strict=True)
    ]
    assert {len(each) for each in meta["output_top_logprobs"]} == {2}


async def test_generate_tells_no_top_that_was_not_asked_for(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    meta = (await ask(client, engine, GENERATE, top_logprobs_num=0)).json()["meta_info"]
    assert "output_top_logprobs" not in meta
    meta = (await ask(client, engine, GENERATE, return_logprob=False)).json()["meta_info"]
    assert "output_token_logprobs" not in meta


async def test_each_prompt_of_a_list_may_ask_for_its_own(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    reply = await ask(
        client, engine, GENERATE, text=["a", "b"], return_logprob=[False, True],
        top_logprobs_num=[0, 1], sampling_params={"sampling_seed": 7},
    )  # fmt: skip
    without, with_one = (each["meta_info"] for each in reply.json())
    assert "output_token_logprobs" not in without
    assert {len(each) for each in with_one["output_top_logprobs"]} == {1}


async def test_events_of_generate_tell_them_from_the_beginning(
    client: httpx2.AsyncClient, engine: Engine
) -> None:
    answers = events_of(await ask(client, engine, GENERATE, stream=True))
    told = [each["meta_info"]["output_token_logprobs"] for each in answers]
    assert [len(each) for each in told] == [len(each["output_ids"]) for each in answers]
    assert all(later[: len(sooner)] == sooner for sooner, later in pairwise(told))
    assert len(told) > 3


async def test_a_job_shows_ids_and_logprobs(client: httpx2.AsyncClient, engine: Engine) -> None:
    sampling = {"max_new_tokens": 32, "logprobs": 1, "seed": 2**63 - 1}
    reply = await client.post("/v1/jobs", json={"prompt": "hi", "sampling_params": sampling})
    job_id = reply.json()["id"]
    shown = await engine.answer(
        asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=20"}))
    )
    result = shown.json()["result"]
    assert result["logprobs"] == [
        {"token_id": each, "logprob": -each / 8, "top": [{"token_id": each, "logprob": 0.0}]}
        for each in engine.ids
    ]
    asked = (await client.get(f"/v1/jobs/ended?ids={job_id}")).json()
    assert asked["data"][0]["result"] == result


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"logprobs": True, "top_logprobs": 15, "max_tokens": 4_097}, "top_logprobs"),
        (RESPONSES, {"top_logprobs": 15, "max_output_tokens": 4_097}, "top_logprobs"),
        (COMPLETIONS, {"logprobs": 5, "max_tokens": 12_000}, "logprobs"),
        (COMPLETIONS, {"logprobs": 5, "max_tokens": 9_000, "prompt": ["a"] * 5}, "logprobs"),
        (GENERATE, {"top_logprobs_num": 20, "sampling_params": {"max_new_tokens": 4_000}},
         "top_logprobs_num"),
        (GENERATE, {"text": ["a"] * 700}, "top_logprobs_num"),
    ],
)  # fmt: skip
async def test_more_than_redis_should_hold_is_refused(
    serve: Serve, memory_broker: MemoryBroker, path: str, body: dict[str, object], param: str
) -> None:
    async with serve(Settings(context_length=16_384), memory_broker) as client:
        reply = await client.post(path, json=BODIES[path] | body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, param)
    assert "ask for fewer, or for a shorter output" in error["message"] or (
        "send them as several requests" in error["message"]
    )
    assert (await memory_broker.counts.stats()).waiting == 0


async def test_a_chat_without_a_limit_is_bounded_by_the_default(
    serve: Serve, memory_broker: MemoryBroker
) -> None:
    """2,048 tokens with twenty beside each are taken."""
    async with serve(Settings(context_length=16_384), memory_broker) as client:
        body = BODIES[CHAT] | {"top_logprobs": 20, "max_tokens": None}
        reply = await client.post(CHAT, json=body, headers={"Prefer": "respond-async"})
        assert reply.status_code == 202
        native = {"prompt": "a", "sampling_params": {"max_new_tokens": 16_000, "logprobs": 4}}
        refused = await client.post("/v1/jobs", json=[{"prompt": "b"}, native])
    assert refused.json()["error"]["param"] == "jobs[1].sampling_params.logprobs"
