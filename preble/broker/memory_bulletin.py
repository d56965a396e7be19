"""The bulletin of the memory broker; see `bulletin.py`."""

from collections.abc import Sequence

from preble.broker.bulletin import Cursor, News, PoolView
from preble.broker.memory_state import MemoryState
from preble.messages import EventBatch, InstanceId, JobState, PlacedJob, Snapshot


class MemoryBulletin:
    """The bulletin of one pool. Implements `Bulletin`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def publish(self, batches: Sequence[EventBatch]) -> None:
        """Append block events to the instances' streams."""
        for batch in batches:
            if instance := self._state.instances.get(batch.instance_id):
                instance.batches.append(batch)
        self._state.ring()

    async def save_snapshot(self, snapshot: Snapshot) -> None:
        """Store what an instance holds."""
        if instance := self._state.instances.get(snapshot.instance_id):
            instance.snapshot = (snapshot, len(instance.batches))

    async def load_snapshot(self, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
        """An instance's newest snapshot and the event cursor that follows it."""
        return _snapshot_of(self._state, instance_id)

    async def load_pool(self) -> PoolView:
        """The whole state a new leader needs."""
        state = self._state
        instances = {
            instance_id: instance
            for instance_id, instance in state.instances.items()
            if instance_id not in state.drained_at_s
        }
        events = {instance_id: _snapshot_of(state, instance_id)[1] for instance_id in instances}
        return PoolView(
            instances=tuple(instance.record for instance in instances.values()),
            snapshots=tuple(i.snapshot[0] for i in instances.values() if i.snapshot),
            placed=tuple(job for job in _placed(state) if job.instance_id in instances),
            cursor=Cursor(str(len(state.signals)), events),
        )

    async def follow(self, cursor: Cursor, *, timeout_s: float) -> News:
        """What happened since the cursor."""
        heard = _news(self._state, cursor)
        if not (heard.signals or heard.batches):
            await self._state.wait(timeout_s)
            heard = _news(self._state, cursor)
        return heard


def _snapshot_of(state: MemoryState, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
    instance = state.instances.get(instance_id)
    if instance is None or instance.snapshot is None:
        return None, "0"
    snapshot, at = instance.snapshot
    return snapshot, str(at)


def _news(state: MemoryState, cursor: Cursor) -> News:
    signals = tuple(state.signals[int(cursor.signals) :])
    batches: list[EventBatch] = []
    events = dict(cursor.events)
    for instance_id, at in cursor.events.items():
        if instance := state.instances.get(instance_id):
            batches += instance.batches[int(at) :]
            events[instance_id] = str(len(instance.batches))
    return News(Cursor(str(len(state.signals)), events), signals, tuple(batches))


def _placed(state: MemoryState) -> list[PlacedJob]:
    return [
        PlacedJob(job_id, job.instance_id, job.spec, job.block_keys)
        for job_id, job in state.jobs.items()
        if job.state in {JobState.ASSIGNED, JobState.RUNNING} and job.instance_id
    ]
