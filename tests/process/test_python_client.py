"""Both Python clients against real processes: whole answers, streams, any number of items."""

import asyncio
from collections.abc import Iterator

import pytest
from processes import Stack, stack

from preble import AsyncClient, Client
from preble.client import EndEvent, Job, JobUnknown, TextEvent
from preble.messages import JobState

pytestmark = pytest.mark.process

LONG = {"prompt": "Once upon a time", "sampling_params": {"max_new_tokens": 40}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("client"), instances=2, emulated_speed="20") as made:
        yield made


def test_many_items_are_mapped_in_their_order(running: Stack) -> None:
    with Client(running.url) as client:
        pairs = list(client.map(map(str, range(500)), max_inflight=50, ordered=True))
    assert [item for item, _ in pairs] == [str(number) for number in range(500)]
    assert all(isinstance(job, Job) and job.result for _, job in pairs)


def test_a_stream_is_the_result_piece_by_piece(running: Stack) -> None:
    with Client(running.url) as client:
        *told, last = client.stream(LONG)
    assert isinstance(last, EndEvent)
    assert last.job.result
    texts = [event.text for event in told if isinstance(event, TextEvent)]
    assert "".join(texts) == last.job.result.text
    assert len(texts) > 1


def test_the_async_client_does_many_things_at_once(running: Stack) -> None:
    async def scenario() -> None:
        async with AsyncClient(running.url) as client:
            ids = await client.submit([LONG, {**LONG, "priority": "batch"}])
            followed, jobs = await asyncio.gather(ended(client, ids[0]), client.wait(ids))
            assert [job.id for job in jobs] == ids
            assert followed == jobs[0]
            mapped = [pair async for pair in client.map(["a", "b"], max_inflight=1)]
            assert [item for item, _ in mapped] == ["a", "b"]
            assert (await client.cancel(ids[0])).status is JobState.COMPLETED
            listed = [job.id async for job in client.list_jobs()]
            assert set(ids) <= set(listed)
            with pytest.raises(JobUnknown):
                await client.wait(["job_unknown"])

    async def ended(client: AsyncClient, job_id: str) -> Job:
        last = [event async for event in client.stream(job_id)][-1]
        assert isinstance(last, EndEvent)
        return last.job

    asyncio.run(scenario())


def test_a_job_with_a_key_of_its_own_is_found_in_another_list(running: Stack) -> None:
    keyed = {**LONG, "idempotency_key": "mine"}
    with Client(running.url) as client:
        [first] = client.submit([keyed])
        _, again = client.submit([LONG, keyed])
    assert again == first
