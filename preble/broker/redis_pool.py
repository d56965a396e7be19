"""Connections to Redis, lent to one call at a time."""

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import AbstractConnection


class TrustingPool(BlockingConnectionPool):
    """Waits for a free connection instead of failing, and lends it without a trial read.

    The trial of redis-py's own pools costs a quarter of a short call. It finds two things. A
    connection that broke: the call finds that, too, and is sent again. And a reply that nobody
    took: a call that is cancelled closes its connection, so none is left, as redis-py's clients
    of a single connection, which try nothing either, rely on.
    """

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        """Connect it, if it is not."""
        if not connection.is_connected:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
