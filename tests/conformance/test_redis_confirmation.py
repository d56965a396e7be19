"""Durability `replicated` where nothing can be confirmed; tests/process has the rest."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from redis import Redis
from support import (
    SMALL_BOUNDS,
    assignment,
    completed,
    record,
    submission,
    unique,
)

from preble.broker import redis_confirmation
from preble.broker.answers import Admitted
from preble.broker.redis import RedisBroker
from preble.errors import BrokerUnavailable, QueueFull
from preble.messages import JobId

pytestmark = pytest.mark.anyio


@pytest.fixture
async def broker(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RedisBroker]:
    assert redis.dbsize() == 0
    monkeypatch.setattr(redis_confirmation, "CONFIRM_WITHIN_S", 0.05)
    made = RedisBroker(
        redis_url, unique("pool"), bounds=SMALL_BOUNDS, max_attempts=3, result_ttl_s=600,
        durability="replicated",
    )  # fmt: skip
    yield made
    await made.close()


def is_unconfirmed(refusal: Admitted) -> bool:
    return isinstance(refusal, BrokerUnavailable) and "no replica has confirmed" in str(refusal)


async def watched() -> None:
    """Until the question that runs beside all else has its answer."""
    for task in asyncio.all_tasks():
        if "Confirmation" in str(task.get_coro()):
            await task


async def test_without_a_replica_nothing_is_accepted_and_a_repetition_neither(
    broker: RedisBroker,
) -> None:
    for _ in range(2):  # the job exists, the second time
        first, second = await broker.admit([[submission("a")], [submission("b")]])
        assert is_unconfirmed(first)
        assert is_unconfirmed(second)
    assert (await broker.counts.stats()).waiting == 2


async def test_what_is_refused_anyway_says_why(broker: RedisBroker) -> None:
    too_big = submission("big", prompt_tokens=9_000)
    (refusal,) = await broker.admit([[too_big]])
    assert isinstance(refusal, QueueFull)


async def test_without_an_append_only_file_the_error_names_it(
    broker: RedisBroker, redis: Redis
) -> None:
    redis.config_set("appendonly", "no")
    try:
        (refusal,) = await broker.admit([[submission("a")]])
    finally:
        redis.config_set("appendonly", "yes")
    assert isinstance(refusal, BrokerUnavailable)
    assert "durability=replicated needs" in str(refusal)


async def test_a_result_is_taken_at_once_and_one_warning_tells_the_spell(
    broker: RedisBroker, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.register(record(), lease_s=60)
    token = await broker.lead("leader", ttl_s=60)
    assert token
    await broker.admit([[submission("a"), submission("b")]])
    waiting = await broker.peek(10)
    await broker.route(token, [(job.ingress, assignment(job)) for job in waiting])
    claimed = await broker.claim(record(), number=1, jobs=2, tokens=1_000, num_held=0, lease_s=60)
    with caplog.at_level(logging.WARNING):
        for job in claimed:
            assert await broker.finish(record(), [completed(job.lease)]) == [True]
            await watched()
    assert caplog.text.count("a failover may lose results") == 1
    assert (await broker.view(JobId("a"))) is not None
