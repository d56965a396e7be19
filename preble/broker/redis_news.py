"""What a scheduler learns of the pool: all of it once, then what happens."""

from collections.abc import Sequence
from typing import Final

from preble.broker.keys import PoolKeys
from preble.broker.redis_client import STREAM_START, Client, block_ms, translated
from preble.broker.redis_events import RedisEvents
from preble.broker.redis_replies import decode_placed, decode_record, news
from preble.broker.views import Cursor, News, PoolView
from preble.messages import InstanceId, InstanceRecord, JobId, PlacedJob, Snapshot

SIGNALS_READ: Final = 1_000
"""Most entries of each stream in one read."""


class RedisNews:
    """Loads one pool and follows it."""

    def __init__(self, client: Client, keys: PoolKeys, events: RedisEvents) -> None:
        self._client = client
        self._keys = keys
        self._events = events

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
            snapshot, event_id = await self._events.load_snapshot(record.instance_id)
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
        return news(cursor, reply, keys)

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
