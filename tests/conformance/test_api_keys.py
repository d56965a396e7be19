"""API keys, wherever they are kept."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis import Redis
from support import free_port, unique, valkey

from preble.broker import api_keys
from preble.broker.api_keys import KEY, ApiKeys, Scope, digest_of
from preble.broker.keys import PoolKeys
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.broker.redis_api_keys import RedisApiKeys
from preble.errors import BrokerUnavailable, ConfigError

pytestmark = pytest.mark.anyio

SCOPES: frozenset[Scope] = frozenset({"submit", "read"})


@pytest.fixture(params=["memory", "redis"])
async def keys(request: pytest.FixtureRequest) -> AsyncIterator[ApiKeys]:
    made: ApiKeys
    if request.param == "memory":
        made = MemoryApiKeys()
    else:
        made = RedisApiKeys(request.getfixturevalue("redis_url"), unique("keys"))
    yield made
    await made.close()


async def create(keys: ApiKeys, name: str = "n", life_s: float | None = None) -> str:
    key, _ = await keys.create(name, tenant="acme", scopes=SCOPES, life_s=life_s)
    return key


async def test_a_key_is_found_by_its_digest(keys: ApiKeys) -> None:
    assert not await keys.are_there()
    key, told = await keys.create("ci", tenant="acme", scopes=SCOPES, life_s=60.0)
    assert KEY.fullmatch(key.encode())
    assert await keys.are_there()
    found = await keys.find(digest_of(key.encode()))
    assert found
    assert found == told
    assert (found.name, found.tenant, found.scopes) == ("ci", "acme", SCOPES)
    assert found.expires_at == found.created_at + 60.0
    assert await keys.find(digest_of(b"another")) is None


async def test_what_is_kept_does_not_open_anything(keys: ApiKeys) -> None:
    key = await create(keys)
    [kept] = await keys.list_keys()
    assert key not in repr(kept)
    assert kept.id.removeprefix("key_") in digest_of(key.encode())
    assert len(kept.id) < 20


async def test_a_key_of_which_the_time_is_over_is_none(keys: ApiKeys) -> None:
    key = await create(keys, life_s=0.0)
    assert await keys.find(digest_of(key.encode())) is None
    assert len(await keys.list_keys()) == 1


async def test_a_revoked_key_is_none_and_others_go_on(keys: ApiKeys) -> None:
    first, second = await create(keys, "first"), await create(keys, "second")
    [one, other] = await keys.list_keys()
    assert (one.name, other.name) == ("first", "second")
    revoked = await keys.revoke(one.id)
    assert revoked
    assert revoked.revoked_at
    assert await keys.revoke(one.id) == revoked
    assert await keys.find(digest_of(first.encode())) is None
    assert await keys.find(digest_of(second.encode()))
    assert await keys.revoke("key_none") is None


async def test_a_pool_whose_keys_are_all_revoked_had_keys(keys: ApiKeys) -> None:
    await create(keys)
    [key] = await keys.list_keys()
    await keys.revoke(key.id)
    assert await keys.are_there()


async def test_keys_are_bounded(keys: ApiKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_KEYS", 1)
    await create(keys)
    with pytest.raises(ConfigError, match="the most it may have"):
        await create(keys)


async def test_redis_never_sees_a_key(redis_url: str) -> None:
    pool = unique("keys")
    keys = RedisApiKeys(redis_url, pool)
    key = await create(keys)
    await keys.close()
    with Redis.from_url(redis_url) as client:
        kept = client.hgetall(PoolKeys(pool)("api_keys"))
    assert key.encode() not in repr(kept).encode()
    assert list(kept) == [digest_of(key.encode()).encode()]


async def test_key_can_be_revoked_while_redis_is_full(tmp_path: Path) -> None:
    port = free_port()
    with valkey(tmp_path, port):
        keys = RedisApiKeys(f"redis://127.0.0.1:{port}/0", unique("keys"))
        key, record = await keys.create("n", tenant="acme", scopes=SCOPES, life_s=None)
        with Redis(port=port) as client:
            client.config_set("maxmemory", "1")
        with pytest.raises(BrokerUnavailable):
            await create(keys)
        assert await keys.find(digest_of(key.encode()))
        assert await keys.revoke(record.id)
        assert await keys.find(digest_of(key.encode())) is None
        await keys.close()


async def test_keys_of_a_redis_that_is_away_are_unavailable() -> None:
    keys = RedisApiKeys("redis://127.0.0.1:1/0", "p")
    with pytest.raises(BrokerUnavailable):
        await keys.find("d")
    await keys.close()
