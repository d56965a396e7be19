"""Several prompts in one `/generate`, and the names that its client gives them."""

import asyncio
import json

import httpx2
import pytest
from api_support import OneWorker, Serve
from generate_support import WITHIN_S

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import JobFailure, SamplingParams, WaitingJob
from preble_api.prefer import MOST_NAMED
from preble_api.schemas import MAX_JOBS

pytestmark = pytest.mark.anyio


class Several:
    """A request whose jobs are answered by hand."""

    def __init__(
        self, client: httpx2.AsyncClient, broker: MemoryBroker, body: object,
        worker: OneWorker | None = None,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._reply = asyncio.create_task(client.post("/generate", json=body))
        self.worker = worker or OneWorker(broker)

    async def jobs(self, number: int) -> list[WaitingJob]:
        async with asyncio.timeout(WITHIN_S):
            while len(waiting := await self._broker.peek(10)) < number:  # noqa: ASYNC110  # see support.eventually
                await asyncio.sleep(0)
        assert len(waiting) == number
        return waiting

    async def run(self, number: int) -> list[WaitingJob]:
        jobs = await self.jobs(number)
        await self.worker.assign_all()
        await self.worker.run_all()
        return jobs

    async def completed(self, number: int) -> httpx2.Response:
        await self.run(number)
        await self.worker.complete_all()
        return await self.answer()

    async def answer(self) -> httpx2.Response:
        async with asyncio.timeout(WITHIN_S):
            return await self._reply


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"text": ["hello", "a"]}, None), ({"input_ids": [[1, 2, 3], [4]]}, [3, 1]),
        ({"text": ["x", "y"], "input_ids": [[1], [1, 2]]}, [1, 2]),
    ],
)  # fmt: skip
async def test_each_of_a_list_is_a_job_and_the_answer_a_list_in_its_order(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object, tokens: list[int] | None
) -> None:
    asked = Several(client, memory_broker, body)
    jobs = await asked.jobs(2)
    if tokens:
        assert [job.spec.prompt_tokens for job in jobs] == tokens

    reply = await asked.completed(2)

    ids = [job.job_id for job in jobs]
    assert reply.headers["x-preble-job"] == ", ".join(ids)
    assert [each["meta_info"]["id"] for each in reply.json()] == ids
    assert [each["text"] for each in reply.json()] == ["answer", "answer"]
    assert all("index" not in each for each in reply.json())


async def test_a_list_of_one_is_answered_by_a_list(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await Several(client, memory_broker, {"text": ["hello"]}).completed(1)
    assert len(reply.json()) == 1


async def test_sampling_and_rids_are_one_for_all_or_one_for_each(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    each = [{"max_new_tokens": 3}, {"max_new_tokens": 4, "temperature": 0}]
    body = {"text": ["a", "b"], "sampling_params": each, "rid": ["x", "y"]}
    asked = Several(client, memory_broker, body)
    assert [job.spec.sampling for job in await asked.jobs(2)] == [
        SamplingParams(max_new_tokens=3), SamplingParams(max_new_tokens=4, temperature=0.0),
    ]  # fmt: skip
    reply = await asked.completed(2)
    assert [each["meta_info"]["id"] for each in reply.json()] == ["x", "y"]

    body = {"text": ["a", "b"], "sampling_params": {"max_new_tokens": 3}, "rid": "x"}
    asked = Several(client, memory_broker, body, asked.worker)
    assert [job.spec.sampling.max_new_tokens for job in await asked.jobs(2)] == [3, 3]
    reply = await asked.completed(2)
    assert [each["meta_info"]["id"] for each in reply.json()] == ["x_0", "x_1"]


async def test_events_of_a_stream_say_of_which_prompt_they_are(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    asked = Several(client, memory_broker, {"text": ["a", "b"], "stream": True})
    await asked.run(2)
    await asked.worker.tell_all(0, "an", before="")
    await asked.worker.complete_all()
    lines = (await asked.answer()).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    for index in (0, 1):
        texts = [event["text"] for event in events if event["index"] == index]
        assert (texts[0], texts[-1]) == ("an", "answer")


async def test_one_that_fails_is_the_answer_to_all(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    asked = Several(client, memory_broker, {"text": ["a", "b"]})
    await asked.run(2)
    await asked.worker.fail_all(JobFailure("engine_refused", "too hot"))
    reply = await asked.answer()
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "too hot")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"text": []}, "text: "),
        ({"text": ["a", ""]}, "text[1]: "),
        ({"text": ["a", 5]}, "text[1]: "),
        ({"text": ["a"] * (MAX_JOBS + 1)}, "text: "),
        ({"text": ["a", "word " * 300]}, "text[1]: "),
        ({"input_ids": [[1], []]}, "input_ids[1]: "),
        ({"input_ids": [1, [2]]}, "input_ids: give token ids, or a list"),
        ({"input_ids": [[1]] * (MAX_JOBS + 1)}, "input_ids: expected at most 1000"),
        ({"input_ids": [[1], [2, 16_384]]}, "input_ids[1][1]: "),
        ({"text": ["a", "b"], "rid": ["x"]}, "rid: expected a list of 2"),
        ({"text": ["a", "b"], "rid": ["x", "x"]}, "rid: must be another"),
        ({"text": "a", "rid": ["x"]}, "rid: expected one, as the prompt is"),
        (
            {"text": ["a", "b"], "sampling_params": [{"n": 1}]},
            "sampling_params: expected a list of 2",
        ),
        ({"text": "a", "sampling_params": [{"n": 1}]}, "sampling_params: expected one"),
        (
            {"text": ["a", "b"], "sampling_params": [{"n": 1}, {"n": 2}]},
            "sampling_params[1].n: is not offered",
        ),
        ({"text": ["a"], "image_data": ["x"]}, "image_data: is not offered"),
        ({"text": ["a"], "return_logprob": [True, False]}, "return_logprob: expected a list of 1"),
        ({"text": ["a"], "top_logprobs_num": [1, 2]}, "top_logprobs_num: expected a list of 1"),
        (
            {"text": ["a", "b"], "return_logprob": True, "logprob_start_len": [-1, 3]},
            "logprob_start_len: must be -1",
        ),
    ],
)
async def test_wrong_list_is_a_400_that_names_the_field_and_no_job_is_made(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, body: object, named: str
) -> None:
    reply = await client.post("/generate", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"].startswith(named)
    assert (await memory_broker.counts.stats()).waiting == 0


async def test_a_list_that_does_not_fit_is_refused_whole(serve: Serve, settings: Settings) -> None:
    broker = MemoryBroker(max_jobs=2)
    async with serve(settings, broker) as client:
        reply = await client.post("/generate", json={"text": ["a", "b", "c"]})
    assert reply.status_code == 429
    assert (await broker.counts.stats()).waiting == 0


async def test_who_does_not_wait_is_told_where_each_is(client: httpx2.AsyncClient) -> None:
    headers = {"prefer": "respond-async"}
    reply = await client.post("/generate", json={"text": ["a", "b"]}, headers=headers)
    assert reply.status_code == 202
    ids = [each["id"] for each in reply.json()["data"]]
    assert reply.headers["x-preble-job"] == ", ".join(ids)


@pytest.mark.parametrize(
    "rid", ["0b9f6f7e-8f3c-4d0e-9a51-3f6f0c2a7d11", "0b9f6f7e8f3c4d0e9a513f6f0c2a7d11"]
)
async def test_rid_that_is_a_uuid_makes_one_job_however_often_it_comes(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, rid: str
) -> None:
    body = {"text": "a", "rid": rid}
    first = Several(client, memory_broker, body)
    [job] = await first.jobs(1)
    again = Several(client, memory_broker, body)
    reply = await first.completed(1)
    assert reply.headers["x-preble-job"] == (await again.answer()).headers["x-preble-job"]
    assert reply.headers["x-preble-job"] == job.job_id

    other = await client.post("/generate", json={"text": "b", "rid": rid})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")
    assert "rid" in other.json()["error"]["message"]


async def test_other_rids_may_be_used_again_for_another_job(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    worker = OneWorker(memory_broker)
    replies = [
        await Several(client, memory_broker, {"text": text, "rid": "mine"}, worker).completed(1)
        for text in ("a", "b")
    ]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].headers["x-preble-job"] != replies[1].headers["x-preble-job"]


@pytest.mark.parametrize(("prompts", "is_named"), [(MOST_NAMED, True), (MOST_NAMED + 1, False)])
async def test_the_header_names_no_more_jobs_than_clients_read(
    client: httpx2.AsyncClient, prompts: int, *, is_named: bool
) -> None:
    asked = {"text": ["hello"] * prompts}
    reply = await client.post("/generate", json=asked, headers={"Prefer": "respond-async"})
    ids = [each["id"] for each in reply.json()["data"]]
    assert len(ids) == prompts
    assert reply.headers.get("x-preble-job") == (", ".join(ids) if is_named else None)
