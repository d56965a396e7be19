"""The API keys of a pool in Redis: one hash, records by digest.

A connection of its own, so that questions about keys, which anybody on the network may cause,
never wait for the queue's, nor those for them.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, Self

import msgspec

from preble.broker.api_keys import ApiKey, Scope, by_age, digest_of, id_of, new_key, require_room
from preble.broker.keys import PoolKeys
from preble.broker.redis_agreement import RedisAgreement
from preble.broker.redis_client import Argument, connect, translated
from preble.broker.redis_scripts import ScriptRunner
from preble.broker.scripts import load_scripts
from preble.config import Settings
from preble.metrics import RedisCalls

_decode: Final = msgspec.json.Decoder(ApiKey).decode


class RedisApiKeys:
    """The keys of one pool. Implements `preble.broker.api_keys.ApiKeys`.

    Args:
        redis_url: Where; connects on its first call.
        pool: Its name.
        calls: Where its round trips are counted.

    Raises:
        ConfigError: If the URL is none that Redis knows.
    """

    def __init__(self, redis_url: str, pool: str, calls: RedisCalls | None = None) -> None:
        self._client = connect(redis_url, max_connections=4, calls=calls)
        keys = PoolKeys(pool)
        self._scripts = ScriptRunner(self._client, load_scripts(keys))
        self._key = keys("api_keys")
        self._agreement = RedisAgreement(self._client, keys)

    @classmethod
    def from_settings(cls, settings: Settings, calls: RedisCalls | None = None) -> Self:
        """The keys of the pool that the settings name."""
        return cls(settings.redis_url, settings.pool, calls)

    async def close(self) -> None:
        """Release connections."""
        await self._client.aclose()

    async def create(
        self, name: str, *, tenant: str | None, scopes: Collection[Scope], life_s: float | None
    ) -> tuple[str, ApiKey]:
        """Make a key. Raises: ConfigError if there are too many; PoolMismatch."""
        await self._agreement.agree_on_schema()
        now_s, num_keys = await self._ask(("HLEN", self._key))
        require_room(num_keys)
        key = new_key()
        digest = digest_of(key.encode())
        record = ApiKey(
            id=id_of(digest), name=name, tenant=tenant, scopes=frozenset(scopes), created_at=now_s,
            expires_at=None if life_s is None else now_s + life_s,
        )  # fmt: skip
        with translated():
            await self._client.execute_command(
                "HSET", self._key, digest, msgspec.json.encode(record)
            )
        return key, record

    async def find(self, digest: str) -> ApiKey | None:
        """The valid key with this digest."""
        now_s, found = await self._ask(("HGET", self._key, digest))
        key = _decode(found) if found else None
        return key if key and key.is_valid(now_s) else None

    async def list_keys(self) -> Sequence[ApiKey]:
        """All keys, the oldest first."""
        _, found = await self._ask(("HGETALL", self._key))
        return by_age({digest.decode(): _decode(record) for digest, record in found.items()})

    async def revoke(self, key_id: str) -> ApiKey | None:
        """Let a key open nothing any more; once more does no harm."""
        now_s, found = await self._ask(("HGETALL", self._key))
        for digest, record in found.items():
            key = _decode(record)
            if key.id == key_id and key.revoked_at is None:
                key = msgspec.structs.replace(key, revoked_at=now_s)
                await self._scripts.run("revoke", digest, msgspec.json.encode(key))
            if key.id == key_id:
                return key
        return None

    async def are_there(self) -> bool:
        """Whether a key was ever made."""
        _, num_keys = await self._ask(("HLEN", self._key))
        return bool(num_keys)

    async def _ask(self, command: Sequence[Argument]) -> tuple[float, Any]:
        """Unix seconds of the Redis clock, and a command's reply, in one round trip."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("TIME")
                pipeline.execute_command(*command)
                (seconds, microseconds), reply = await pipeline.execute()
        return seconds + microseconds / 1e6, reply
