"""How workers are called: for each instance a stream of jobs assigned, and one of jobs recalled.

Streams and not lists, for reading them writes nothing: a full Redis allows it.
"""

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import STREAM_START, Client, block_ms, translated
from preble.errors import BrokerUnavailable
from preble.messages import InstanceId, Ring


class RedisRings:
    """Hears each call once."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys
        self._heard: dict[str, str] = {}
        """Newest entry that was read, of each stream."""

    def forget(self) -> None:
        """Hear all of it again: streams may be new, or the clock that numbers their entries."""
        self._heard.clear()

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until the instance's worker is called, or the timeout."""
        ring_of = {
            self._keys("doorbell", instance=instance_id): Ring.ASSIGNED,
            self._keys("recalls", instance=instance_id): Ring.RECALLED,
        }
        heard = {key: self._heard.get(key, STREAM_START) for key in ring_of}
        try:
            with translated():
                reply = await self._client.xread(heard, block=block_ms(timeout_s))
        except BrokerUnavailable:
            self.forget()  # another server may come, whose clock is behind this one's
            raise
        newest = {key.decode(): entries[-1][0].decode() for key, entries in reply}
        self._heard |= newest
        return frozenset(ring_of[key] for key in newest)
