"""Submitting and polling."""

import httpx2
import msgspec
import pytest
from api_support import SOME_JOB, DownBroker, OneWorker, Serve

from preble.block_keys import block_keys, root_key
from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble.messages import JobFailure, SamplingParams, WaitingJob, pack_tokens
from preble.pool import pool_record
from preble.tokenizer import Tokenizer
from preble_api.schemas import JobAccepted, JobListAccepted, JobStatus

pytestmark = pytest.mark.anyio


async def submit(client: httpx2.AsyncClient, job: object) -> str:
    reply = await client.post("/v1/jobs", json=job)
    assert reply.status_code == 202
    return msgspec.json.decode(reply.content, type=JobAccepted).id


async def only_waiting(broker: MemoryBroker) -> WaitingJob:
    [job] = await broker.peek(10)
    return job


async def test_accepted_job_is_found_at_its_location(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await client.post("/v1/jobs", json={"prompt": "hello"})
    assert reply.status_code == 202
    accepted = reply.json()
    path = f"/v1/jobs/{accepted['id']}"
    assert reply.headers["location"] == path
    assert accepted == {
        "id": accepted["id"], "object": "job", "status": "waiting",
        "urls": {
            "self": path, "cancel": f"{path}/cancel", "events": f"{path}/events",
            "explain": f"{path}/explain",
        },
    }  # fmt: skip
    assert (await client.get(path)).json()["id"] == accepted["id"]
    assert (await only_waiting(memory_broker)).job_id == accepted["id"]


async def test_job_ids_are_fit_for_a_url_and_differ(client: httpx2.AsyncClient) -> None:
    ids = {await submit(client, {"prompt": "hello"}) for _ in range(20)}
    assert len(ids) == 20
    assert all(each.startswith("job_") and len(each) >= 30 for each in ids)
    assert all(each.replace("_", "").isalnum() for each in ids)


@pytest.mark.parametrize("as_object", [False, True])
async def test_list_is_accepted_in_order(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, *, as_object: bool
) -> None:
    jobs: list[dict[str, object]] = [{"input_ids": [1] * number} for number in range(2, 31)]
    # Text that goes to a thread comes first: it must not be overtaken.
    text: dict[str, object] = {"prompt": "word " * 90}
    jobs = [text, *jobs, {"messages": [{"role": "user", "content": "hi"}]}, text]
    reply = await client.post("/v1/jobs", json={"jobs": jobs} if as_object else jobs)
    assert reply.status_code == 202
    accepted = msgspec.json.decode(reply.content, type=JobListAccepted)
    waiting = await memory_broker.peek(100)
    assert [each.id for each in accepted.data] == [job.job_id for job in waiting]
    assert [job.spec.prompt_tokens for job in waiting[1:30]] == list(range(2, 31))


async def test_thousand_jobs_at_once(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    reply = await client.post("/v1/jobs", json=[{"input_ids": [7] * 40}] * 1000)
    assert len(reply.json()["data"]) == 1000
    assert (await memory_broker.counts.stats()).waiting == 1000


async def test_ids_become_tokens_and_block_keys(
    client: httpx2.AsyncClient,
    memory_broker: MemoryBroker,
    settings: Settings,
    tokenizer: Tokenizer,
) -> None:
    ids = list(range(100, 150))
    await submit(client, {"input_ids": ids})
    job = await only_waiting(memory_broker)
    root = root_key(pool_record(settings, tokenizer), "")
    assert job.block_keys == block_keys(pack_tokens(ids), root=root, block_size=16)
    assert len(job.block_keys) == 3 * 8
    assert job.spec.prompt_tokens == 50


@pytest.mark.parametrize("words", [3, 120], ids=["on the spot", "on a thread"])
async def test_text_is_tokenized_as_the_model_does(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, tokenizer: Tokenizer, words: int
) -> None:
    text = "garden " * words
    await submit(client, {"prompt": text, "sampling_params": {"max_new_tokens": 1}})
    assert await claimed_tokens(memory_broker) == pack_tokens(tokenizer.encode([text])[0])


@pytest.mark.parametrize("words", [3, 120], ids=["on the spot", "on a thread"])
async def test_chat_is_rendered_with_the_models_template(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker, tokenizer: Tokenizer, words: int
) -> None:
    text = "garden " * words
    parts = [{"type": "text", "text": text}, {"type": "text", "text": "and more"}]
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": parts}]
    await submit(client, {"messages": messages, "sampling_params": {"max_new_tokens": 1}})
    chat = (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{text}\nand more<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer.encode([chat], add_special_tokens=False)[0]
    assert await claimed_tokens(memory_broker) == pack_tokens(ids)


async def claimed_tokens(broker: MemoryBroker) -> bytes:
    worker = OneWorker(broker)
    await worker.assign_all()
    [claim] = await worker.run_all()
    return claim.prompt


async def test_sampling_params_arrive_as_given_and_default_otherwise(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    given = {"max_new_tokens": 7, "temperature": 0, "top_k": 5, "stop": "END", "ignore_eos": True}
    await submit(client, {"prompt": "a", "sampling_params": given})
    await submit(client, {"prompt": "a", "sampling_params": {"stop": ["x", "y"]}})
    await submit(client, {"prompt": "a", "sampling_params": None})
    first, second, third = (job.spec.sampling for job in await memory_broker.peek(10))
    assert first == SamplingParams(
        max_new_tokens=7, temperature=0.0, top_k=5, stop=("END",), ignore_eos=True
    )
    assert second == SamplingParams(stop=("x", "y"))
    assert third == SamplingParams()


async def test_prompt_that_just_fits_is_taken(client: httpx2.AsyncClient) -> None:
    await submit(client, {"input_ids": [1] * 250, "sampling_params": {"max_new_tokens": 6}})


async def test_own_model_may_be_named(client: httpx2.AsyncClient, settings: Settings) -> None:
    await submit(client, {"prompt": "a", "model": settings.model})


async def test_job_is_shown_at_each_step_of_its_life(
    client: httpx2.AsyncClient, memory_broker: MemoryBroker
) -> None:
    first = await submit(client, {"input_ids": [1] * 10})
    second = await submit(client, {"input_ids": [1] * 10})
    worker = OneWorker(memory_broker)

    async def show(job_id: str) -> JobStatus:
        reply = await client.get(f"/v1/jobs/{job_id}")
        assert reply.status_code == 200
        assert ("retry-after" in reply.headers) == (reply.json()["ended_at"] is None)
        return msgspec.json.decode(reply.content, type=JobStatus)

    waiting = await show(second)
    assert (waiting.status, waiting.position, waiting.attempt) == ("waiting", 1, 0)
    assert waiting.prompt_tokens == 10
    assert waiting.urls.self == f"/v1/jobs/{second}"

    await worker.assign_all()
    assigned = await show(second)
    assert (assigned.status, assigned.instance) == ("assigned", "gpu0")
    assert assigned.assignment
    assert assigned.assignment.predicted_hit_tokens == 5
    assert assigned.assignment.available_hit_tokens == 7
    assert assigned.assignment.reason == "exploit"

    await worker.run_all()
    running = await show(first)
    assert (running.status, running.attempt, running.position) == ("running", 1, None)
    assert running.started_at is not None

    await worker.complete_all()
    done = await show(first)
    assert done.status == "completed"
    assert done.ended_at is not None
    assert done.result
    assert (done.result.text, done.result.output_ids) == ("answer", (1, 2))
    assert (done.result.usage.prompt_tokens, done.result.usage.cached_tokens) == (10, 4)
    assert done.error is None


async def test_failed_job_says_why(client: httpx2.AsyncClient, memory_broker: MemoryBroker) -> None:
    job_id = await submit(client, {"prompt": "hello"})
    worker = OneWorker(memory_broker)
    await worker.assign_all()
    await worker.run_all()
    await worker.fail_all(JobFailure("engine_refused", "too hot"))
    job = (await client.get(f"/v1/jobs/{job_id}")).json()
    assert job["status"] == "failed"
    assert job["result"] is None
    assert job["error"] == {"code": "engine_refused", "message": "too hot"}


@pytest.mark.parametrize("job_id", ["job_unknown", "a" * 65, "job%20x", "%2e%2e", "jöb", "*"])
async def test_unknown_or_malformed_id_is_not_found(
    client: httpx2.AsyncClient, job_id: str
) -> None:
    reply = await client.get(f"/v1/jobs/{job_id}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


async def test_queue_down_is_503_and_never_202(serve: Serve, settings: Settings) -> None:
    async with serve(settings, DownBroker()) as client:
        for reply in (
            await client.post("/v1/jobs", json={"prompt": "hello"}),
            await client.post("/v1/jobs", json=[{"prompt": "hello"}] * 3),
            await client.get(f"/v1/jobs/{SOME_JOB}"),
        ):
            assert reply.status_code == 503
            assert 1 <= int(reply.headers["retry-after"]) <= 120
            assert reply.headers["x-should-retry"] == "true"
            assert reply.json()["error"]["type"] == "server_error"
            assert reply.json()["error"]["code"] == "queue_unavailable"


async def test_full_queue_is_429_for_the_whole_list(serve: Serve, settings: Settings) -> None:
    broker = MemoryBroker(max_jobs=3)
    async with serve(settings, broker) as client:
        await submit(client, {"prompt": "hello"})
        reply = await client.post("/v1/jobs", json=[{"prompt": "hello"}] * 3)
        assert reply.status_code == 429
        assert reply.headers["retry-after"] == "1"
        assert reply.headers["x-should-retry"] == "true"
        assert reply.json()["error"]["type"] == "rate_limit_error"
        assert (await broker.counts.stats()).waiting == 1
