"""What processes of one pool agree on, in Redis: the first of them sets it, all others compare."""

import msgspec

from preble.broker.agreement import (
    FIRST_SCHEMA,
    SCHEMA,
    require_same_pool,
    require_same_schema,
    require_same_weights,
)
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.messages import PoolRecord


class RedisAgreement:
    """The foundation of one pool. Implements `Agreement`."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys

    async def agree_on_schema(self) -> None:
        """Set the pool's schema, or agree with it. Raises: PoolMismatch."""
        with translated():
            schema, record = await self._client.execute_command(
                "MGET", self._keys("schema"), self._keys("pool")
            )
        if schema is None and record is None:
            schema = await self._founded("schema", str(SCHEMA).encode())
        require_same_schema(self._keys.pool, FIRST_SCHEMA if schema is None else int(schema))

    async def join_pool(self, record: PoolRecord) -> None:
        """Found the pool, or agree with it. Raises: PoolMismatch."""
        await self.agree_on_schema()  # the record of another one may not even be readable
        blob = await self._founded("pool", msgspec.json.encode(record))
        require_same_pool(self._keys.pool, msgspec.json.decode(blob, type=PoolRecord), record)

    async def agree_on_weights(self, fingerprint: str) -> None:
        """Set the pool's weights, or agree with them. Raises: PoolMismatch."""
        founded = await self._founded("weights", fingerprint.encode())
        require_same_weights(self._keys.pool, founded.decode(), fingerprint)

    async def _founded(self, name: str, value: bytes) -> bytes:
        """What the first process has set a key to."""
        key = self._keys(name)
        with translated():
            founded = await self._client.get(key)
            if founded is None:  # asked first, for a full Redis refuses even a SET NX
                await self._client.set(key, value, nx=True)
                founded = await self._client.get(key)
        return value if founded is None else founded
