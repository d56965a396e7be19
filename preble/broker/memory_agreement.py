"""What processes of the memory broker's pool agree on; see `agreement.py`."""

from preble.broker.agreement import require_same_pool, require_same_weights
from preble.broker.memory_state import POOL
from preble.messages import PoolRecord


class MemoryAgreement:
    """The foundation of one pool. Implements `Agreement`."""

    def __init__(self) -> None:
        self._pool: PoolRecord | None = None
        self._weights = ""

    async def agree_on_schema(self) -> None:
        """Nobody else is in this pool."""

    async def join_pool(self, record: PoolRecord) -> None:
        """Found the pool, or agree with it. Raises: PoolMismatch."""
        self._pool = self._pool or record
        require_same_pool(POOL, self._pool, record)

    async def agree_on_weights(self, fingerprint: str) -> None:
        """Set the pool's weights, or agree with them. Raises: PoolMismatch."""
        self._weights = self._weights or fingerprint
        require_same_weights(POOL, self._weights, fingerprint)
