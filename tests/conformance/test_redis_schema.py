"""Processes of another schema are refused by a real Valkey's pool, with what to do. ADR 0040."""

from collections.abc import AsyncIterator

import pytest
from doctor_support import WELL, only
from msgspec.structs import replace
from redis import Redis
from redis_facts_support import POOL, look_at_pool
from support import POOL as RECORD
from support import redis_broker

from preble.broker import agreement
from preble.broker.agreement import FIRST_SCHEMA, SCHEMA
from preble.broker.api_keys import Scope
from preble.broker.keys import PoolKeys
from preble.broker.redis import RedisBroker
from preble.broker.redis_api_keys import RedisApiKeys
from preble.clock import SystemClock
from preble.config import Settings
from preble.errors import PoolMismatch
from preble.metrics import SchedulerMetrics
from preble.scheduler_process import SchedulerProcess

pytestmark = pytest.mark.anyio

KEY = PoolKeys(POOL)("schema")
TOO_NEW = f"has schema {SCHEMA + 1}, and this Preble speaks schema {SCHEMA}: upgrade this process"
TOO_OLD = f"has schema 0, and this Preble speaks schema {SCHEMA}: let the version .* on a new pool"


@pytest.fixture
async def broker(redis: Redis, redis_url: str) -> AsyncIterator[RedisBroker]:
    assert redis.dbsize() == 0
    made = redis_broker(redis_url, POOL)
    yield made
    await made.close()


async def test_the_first_process_sets_the_schema(broker: RedisBroker, redis: Redis) -> None:
    await broker.agreement.join_pool(RECORD)
    await broker.agreement.join_pool(RECORD)
    assert redis.get(KEY) == str(SCHEMA).encode()
    assert redis.ttl(KEY) == -1


@pytest.mark.parametrize(("schema", "complaint"), [(SCHEMA + 1, TOO_NEW), (0, TOO_OLD)])
async def test_a_pool_of_another_schema_is_not_joined(
    broker: RedisBroker, redis: Redis, schema: int, complaint: str
) -> None:
    redis.set(KEY, schema)
    redis.set(PoolKeys(POOL)("pool"), b"unreadable to us")
    with pytest.raises(PoolMismatch, match=complaint):
        await broker.agreement.join_pool(RECORD)


async def test_a_pool_without_a_number_has_the_first(
    broker: RedisBroker, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await broker.agreement.join_pool(RECORD)
    redis.delete(KEY)
    await broker.agreement.agree_on_schema()
    monkeypatch.setattr(agreement, "SCHEMA", FIRST_SCHEMA + 1)
    with pytest.raises(PoolMismatch, match=f"has schema {FIRST_SCHEMA}, .* new pool"):
        await broker.agreement.agree_on_schema()


async def test_a_scheduler_of_another_schema_never_leads(broker: RedisBroker, redis: Redis) -> None:
    redis.set(KEY, SCHEMA + 1)
    process = SchedulerProcess(broker, Settings(), SystemClock(), SchedulerMetrics(None))
    with pytest.raises(PoolMismatch, match=TOO_NEW):
        await process.run()
    assert not redis.exists(PoolKeys(POOL)("leader"))


async def test_keys_are_not_made_in_a_pool_of_another_schema(redis: Redis, redis_url: str) -> None:
    redis.set(KEY, SCHEMA + 1)
    keys = RedisApiKeys(redis_url, POOL)
    with pytest.raises(PoolMismatch, match=TOO_NEW):
        await keys.create("ci", tenant=None, scopes=frozenset[Scope]({"read"}), life_s=None)
    await keys.close()
    assert not redis.exists(PoolKeys(POOL)("api_keys"))


async def test_the_doctor_tells_of_another_schema(redis: Redis, redis_url: str) -> None:
    redis.set(KEY, SCHEMA + 1)
    assert (await look_at_pool(redis_url)).schema == SCHEMA + 1
    finding = only(replace(WELL, schema=SCHEMA + 1))
    assert finding.level == "broken"
    assert f"schema {SCHEMA + 1}" in finding.seen
