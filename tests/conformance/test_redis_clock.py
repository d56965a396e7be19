"""Redis's clock set back: what the dead hold does not last until the old time comes again."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from redis import Redis
from support import assignment, record, redis_broker, submission

from preble.broker.redis import RedisBroker
from preble.config import LONGEST_LEASE_S

pytestmark = pytest.mark.anyio

POOL: Final = "clock"
LEASE_S: Final = 8.0
HOUR_MS: Final = 3_600_000


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    del redis  # emptied first
    made = redis_broker(redis_url, POOL)
    yield made
    await made.close()


def ends(redis: Redis, key: str) -> dict[str, float]:
    """How many ms from now on each lease ends."""
    now: Any = redis.time()
    leases: Any = redis.zrange(f"preble:{POOL}:{key}", 0, -1, withscores=True)
    now_ms = now[0] * 1000 + now[1] / 1000
    return {member.decode(): score - now_ms for member, score in leases}


async def test_leases_that_end_in_an_hour_end_within_a_minute(
    broker: RedisBroker, redis: Redis
) -> None:
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    await broker.register(record(), lease_s=LEASE_S)
    await broker.admit([[submission("a")]])
    (job,) = await broker.peek(1)
    await broker.route(token, [(job.ingress, assignment(job))])
    await broker.claim(record(), number=1, jobs=1, tokens=100, num_held=0, lease_s=LEASE_S)
    for key in ("leases", "instances"):
        (member,) = ends(redis, key)
        redis.zincrby(f"preble:{POOL}:{key}", HOUR_MS, member)

    assert (await broker.reap(token, limit=10)).requeued == ()

    for key in ("leases", "instances"):
        (left_ms,) = ends(redis, key).values()
        assert LEASE_S * 1000 < left_ms <= LONGEST_LEASE_S * 1000


async def test_leases_that_nobody_moved_stay_as_they_are(broker: RedisBroker, redis: Redis) -> None:
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    await broker.register(record(), lease_s=LEASE_S)
    await broker.reap(token, limit=10)
    (left_ms,) = ends(redis, "instances").values()
    assert left_ms <= LEASE_S * 1000
