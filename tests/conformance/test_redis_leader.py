"""LEAD on a real Valkey: writes that it lost are noticed, told once, and end every term."""

import logging
from collections.abc import AsyncIterator

import pytest
from redis import Redis
from redis_facts_support import POOL, look_at_pool
from support import record, redis_broker, submission

from preble.broker.bulletin import Cursor
from preble.broker.keys import PoolKeys
from preble.broker.redis import RedisBroker

pytestmark = pytest.mark.anyio

KEYS = PoolKeys(POOL)
TTL_S = 3.0


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    assert redis.dbsize() == 0
    made = redis_broker(redis_url, POOL)
    yield made
    await made.close()


async def rollbacks(broker: RedisBroker) -> int:
    return (await broker.counts.stats()).totals.get("rollbacks", 0)


def take_back(redis: Redis, ms: int) -> int:
    """The beat as it was that long ago. Returns: it."""
    earlier = int(redis.get(KEYS("beat")) or 0) - ms
    redis.set(KEYS("beat"), earlier)
    return earlier


async def test_a_lost_beat_ends_the_term_and_is_told_with_its_bounds(
    broker: RedisBroker, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    first = await broker.lead("one", ttl_s=TTL_S)
    assert await broker.lead("one", ttl_s=TTL_S) == first
    assert await rollbacks(broker) == 0
    take_back(redis, 5_000)
    with caplog.at_level(logging.ERROR):
        assert await broker.lead("one", ttl_s=TTL_S) is None
    assert "lost writes of at most 5." in caplog.text
    assert 5_000 <= (await broker.counts.stats()).totals["lost_write_ms"] < 6_000
    second = await broker.lead("two", ttl_s=TTL_S)
    assert second
    assert second != first
    assert await rollbacks(broker) == 1


async def test_a_standby_notices_what_the_leader_had_written(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    standby = redis_broker(redis_url, POOL)
    assert await broker.lead("one", ttl_s=TTL_S)
    assert await standby.lead("two", ttl_s=TTL_S) is None
    take_back(redis, 5_000)
    assert await standby.lead("two", ttl_s=TTL_S) is None
    assert await rollbacks(standby) == 1
    assert await standby.lead("two", ttl_s=TTL_S)  # the leader's term is over as well
    assert await broker.lead("one", ttl_s=TTL_S) is None
    assert await rollbacks(broker) == 1
    await standby.close()


async def test_a_lost_signal_is_noticed_though_no_beat_is_missing(
    broker: RedisBroker, redis: Redis
) -> None:
    await broker.register(record(), lease_s=60)
    assert await broker.lead("one", ttl_s=TTL_S)
    await broker.admit([[submission("a")]])
    news = await broker.bulletin.follow(Cursor("0-0", {}), timeout_s=0)
    redis.xdel(KEYS("signals"), news.cursor.signals)
    assert await broker.lead("one", ttl_s=TTL_S) is None
    assert await broker.lead("two", ttl_s=TTL_S)
    assert await rollbacks(broker) == 1


async def test_what_one_scheduler_has_told_another_does_not_tell_again(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    standby = redis_broker(redis_url, POOL)
    await broker.register(record(), lease_s=60)
    assert await broker.lead("one", ttl_s=TTL_S)
    assert await standby.lead("two", ttl_s=TTL_S) is None
    await broker.admit([[submission("a")]])
    news = await broker.bulletin.follow(Cursor("0-0", {}), timeout_s=0)
    redis.xdel(KEYS("signals"), news.cursor.signals)
    take_back(redis, 5_000)
    assert await standby.lead("two", ttl_s=TTL_S) is None
    assert await standby.lead("two", ttl_s=TTL_S)
    assert await broker.lead("one", ttl_s=TTL_S) is None
    assert await standby.lead("two", ttl_s=TTL_S)
    assert await rollbacks(standby) == 1
    await standby.close()


async def test_a_signal_that_was_trimmed_was_not_lost(broker: RedisBroker, redis: Redis) -> None:
    first = await broker.lead("one", ttl_s=TTL_S)
    await broker.admit([[submission("a")]])
    await broker.bulletin.follow(Cursor("0-0", {}), timeout_s=0)
    redis.xtrim(KEYS("signals"), maxlen=0)
    redis.xadd(KEYS("signals"), {"m": b""}, id="99999999999999-0")
    assert await broker.lead("one", ttl_s=TTL_S) == first
    assert await rollbacks(broker) == 0


async def test_an_emptied_redis_is_told(
    broker: RedisBroker, redis: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await broker.lead("one", ttl_s=TTL_S)
    redis.flushall()
    assert await broker.lead("one", ttl_s=TTL_S) is None
    assert "lost all that it held" in caplog.text
    rollback = (await look_at_pool(redis_url)).rollback
    assert rollback
    assert (rollback.lost_s, rollback.rollbacks) == (None, 1)


async def test_the_doctor_sees_the_last_loss(
    broker: RedisBroker, redis: Redis, redis_url: str
) -> None:
    assert await broker.lead("one", ttl_s=TTL_S)
    assert (await look_at_pool(redis_url)).rollback is None
    for _ in range(2):
        take_back(redis, 5_000)
        assert await broker.lead("one", ttl_s=TTL_S) is None
        assert await broker.lead("one", ttl_s=TTL_S)
    rollback = (await look_at_pool(redis_url)).rollback
    assert rollback
    assert rollback.lost_s == pytest.approx(5, abs=1)
    assert (rollback.rollbacks, rollback.ago_s < 5) == (2, True)


async def test_where_the_clock_was_set_back_a_dead_leader_keeps_it_for_one_lease(
    broker: RedisBroker, redis: Redis
) -> None:
    redis.set(KEYS("leader"), "7-dead", px=3_600_000)
    assert await broker.lead("one", ttl_s=TTL_S) is None
    assert 0 < redis.pttl(KEYS("leader")) <= TTL_S * 1_000


async def test_beats_grow_though_the_clock_was_set_back(broker: RedisBroker, redis: Redis) -> None:
    first = await broker.lead("one", ttl_s=TTL_S)
    ahead = int(redis.get(KEYS("beat")) or 0) + 3_600_000
    redis.set(KEYS("beat"), ahead)
    for _ in range(3):
        assert await broker.lead("one", ttl_s=TTL_S) == first
    assert int(redis.get(KEYS("beat")) or 0) == ahead + 3
