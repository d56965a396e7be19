"""What instances hold, on its way through Redis: a stream of block events and a snapshot for each.

A snapshot is stored with the id of the entry that it follows, so that a reader which missed some
goes on from there.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import STREAM_START, Client, translated
from preble.messages import EventBatch, InstanceId, Snapshot, encode

EVENTS_KEPT: Final = 4_096
"""Batches of each stream; who is further behind loads the snapshot."""


class RedisEvents:
    """Block events and snapshots of one pool's instances."""

    def __init__(self, client: Client, keys: PoolKeys) -> None:
        self._client = client
        self._keys = keys
        self._newest: dict[InstanceId, str] = {}
        """Id of the entry that was published last, of each instance."""

    def begin_anew(self, instance_id: InstanceId) -> None:
        """A new life of an instance begins, with an empty stream."""
        self._newest.pop(instance_id, None)

    async def publish(self, batches: Sequence[EventBatch]) -> None:
        """Append block events to the instances' streams."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipeline:
                for batch in batches:
                    key = self._keys("events", instance=batch.instance_id)
                    pipeline.xadd(key, {"b": encode(batch)}, maxlen=EVENTS_KEPT)
                event_ids = await pipeline.execute()
        for batch, event_id in zip(batches, event_ids, strict=True):
            self._newest[batch.instance_id] = event_id.decode()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store what an instance holds."""
        event_id = self._newest.get(snapshot.instance_id, STREAM_START)
        blob = event_id.encode() + b"\n" + encode(snapshot)
        with translated():
            await self._client.set(self._keys("snapshot", instance=snapshot.instance_id), blob)

    async def load_snapshot(self, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
        """An instance's newest snapshot and the event cursor that follows it."""
        with translated():
            blob = await self._client.get(self._keys("snapshot", instance=instance_id))
        if blob is None:
            return None, STREAM_START
        event_id, _, body = blob.partition(b"\n")
        return msgspec.msgpack.decode(body, type=Snapshot), event_id.decode()
