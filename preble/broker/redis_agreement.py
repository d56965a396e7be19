"""What processes of one pool agree on, in Redis: the first of them sets it, all others compare."""

import msgspec

from preble.broker.agreement import require_same_pool, require_same_weights
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import Client, translated
from preble.messages import PoolRecord


class RedisAgreement:
    """The foundation of one pool."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys

    async def join_pool(self, record: PoolRecord) -> None:
        """Found the pool, or agree with it. Raises: PoolMismatch."""
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
