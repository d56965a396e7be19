"""Notes that an api keeps with jobs, on both brokers."""

import pytest
from redis import Redis
from support import redis_broker, submission, unique

from preble.broker import Broker
from preble.messages import JobId

pytestmark = pytest.mark.anyio

JOB = JobId("job1")


async def test_a_note_is_kept_with_its_job_and_the_first_one_stays(broker: Broker) -> None:
    await broker.admit([[submission(JOB)]])
    assert await broker.notes.read(JOB) is None
    assert await broker.notes.keep(JOB, b"one\x00") == b"one\x00"
    assert await broker.notes.keep(JOB, b"two") == b"one\x00"
    assert await broker.notes.read(JOB) == b"one\x00"


async def test_a_job_that_is_not_there_has_no_note(broker: Broker) -> None:
    assert await broker.notes.keep(JOB, b"one") is None
    assert await broker.notes.read(JOB) is None
    assert not await broker.notes.drop(JOB)
    assert await broker.view(JOB) is None


async def test_a_note_that_was_dropped_is_gone(broker: Broker) -> None:
    await broker.admit([[submission(JOB)]])
    await broker.notes.keep(JOB, b"one")
    assert await broker.notes.drop(JOB)
    assert not await broker.notes.drop(JOB)
    assert await broker.notes.read(JOB) is None


async def test_a_note_outlives_the_end_of_its_job_and_no_more(redis_url: str, redis: Redis) -> None:
    made = redis_broker(redis_url, unique("notes"))
    await made.admit([[submission(JOB)]])
    await made.notes.keep(JOB, b"one")
    assert redis.ttl(f"rq:job:{JOB}") == -1, "it waits, however long that takes"
    await made.cancel([JOB])
    assert await made.notes.read(JOB) == b"one"
    assert 0 < redis.ttl(f"rq:job:{JOB}") <= 600
    await made.close()
