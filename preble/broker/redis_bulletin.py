"""The bulletin on Redis: a stream of block events and a snapshot for each instance, and signals.

A snapshot is stored with the id of the entry that it follows, so that a reader which missed some
goes on from there.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from preble.broker.bulletin import Cursor, News, PoolView
from preble.broker.keys import PoolKeys
from preble.broker.redis_client import STREAM_START, Client, block_ms, translated
from preble.broker.redis_leader import RedisLeader
from preble.broker.redis_replies import decode_placed, decode_record, news
from preble.messages import (
    EventBatch,
    InstanceId,
    InstanceRecord,
    JobId,
    PlacedJob,
    Snapshot,
    encode,
)

EVENTS_KEPT: Final = 4_096
"""Batches of each stream; who is further behind loads the snapshot."""

SIGNALS_READ: Final = 1_000
"""Most entries of each stream in one read."""


class RedisBulletin:
    """The bulletin of one pool. Implements `Bulletin`.

    Args:
        client: Where it stands.
        keys: Those of the pool.
        leader: Is told which signals were heard.
    """

    def __init__(self, client: Client, keys: PoolKeys, leader: RedisLeader) -> None:
        self._client = client
        self._keys = keys
        self._leader = leader
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

    async def load_pool(self) -> PoolView:
        """The whole state a new leader needs.

        The cursor is taken first: what happens meanwhile is then heard twice, not missed.
        """
        with translated():
            newest = await self._client.xrevrange(self._keys("signals"), count=1)
            signals = newest[0][0].decode() if newest else STREAM_START
            records = await self._instance_records()
        snapshots: list[Snapshot] = []
        events: dict[InstanceId, str] = {}
        for record in records:
            snapshot, event_id = await self.load_snapshot(record.instance_id)
            events[record.instance_id] = event_id
            if snapshot:
                snapshots.append(snapshot)
        with translated():
            placed = await self._placed_jobs(records)
        return PoolView(records, tuple(snapshots), tuple(placed), Cursor(signals, events))

    async def follow(self, cursor: Cursor, *, timeout_s: float) -> News:
        """What happened since the cursor; waits up to the timeout for something to happen."""
        keys = self._keys
        streams: dict[str, str] = {keys("signals"): cursor.signals}
        streams |= {keys("events", instance=i): at for i, at in cursor.events.items()}
        with translated():
            reply = await self._client.xread(streams, count=SIGNALS_READ, block=block_ms(timeout_s))
        heard = news(cursor, reply, keys)
        if heard.signals:
            self._leader.hear(heard.cursor.signals)
        return heard

    async def _instance_records(self) -> tuple[InstanceRecord, ...]:
        drained = {*await self._client.zrange(self._keys("drained"), 0, -1)}
        registered = await self._client.zrange(self._keys("instances"), 0, -1)
        instances = [instance for instance in registered if instance not in drained]
        async with self._client.pipeline(transaction=False) as pipeline:
            for instance in instances:
                pipeline.hget(self._keys("instance", instance=instance.decode()), "record")
            blobs = await pipeline.execute()
        return tuple(decode_record(blob) for blob in blobs if blob)

    async def _placed_jobs(self, records: Sequence[InstanceRecord]) -> list[PlacedJob]:
        where: dict[JobId, InstanceId] = {}
        for record in records:
            queue = self._keys.instance_queue(record.instance_id)
            running = await self._client.zrange(self._keys("started", queue=queue), 0, -1)
            assigned = await self._client.lrange(self._keys("queue", queue=queue), 0, -1)
            jobs = [composite.partition(b":")[0] for composite in running] + assigned
            where |= {JobId(job.decode()): record.instance_id for job in jobs}
        async with self._client.pipeline(transaction=False) as pipeline:
            for job_id in where:
                pipeline.hget(self._keys("job", job=job_id), "preble_spec")
                pipeline.get(self._keys("block_keys", job=job_id))
            fields = await pipeline.execute()
        return decode_placed(where, fields)
