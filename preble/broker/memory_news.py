"""What a scheduler learns of the memory broker's pool: all of it once, then what happens."""

from preble.broker.memory_state import MemoryState
from preble.broker.views import Cursor, News, PoolView
from preble.messages import EventBatch, InstanceId, JobState, PlacedJob, Snapshot


def pool_view(state: MemoryState) -> PoolView:
    """The whole state a new leader needs."""
    instances = {
        instance_id: instance
        for instance_id, instance in state.instances.items()
        if instance_id not in state.drained_at_s
    }
    events = {instance_id: snapshot_of(state, instance_id)[1] for instance_id in instances}
    return PoolView(
        instances=tuple(instance.record for instance in instances.values()),
        snapshots=tuple(i.snapshot[0] for i in instances.values() if i.snapshot),
        placed=tuple(job for job in _placed(state) if job.instance_id in instances),
        cursor=Cursor(str(len(state.signals)), events),
    )


def snapshot_of(state: MemoryState, instance_id: InstanceId) -> tuple[Snapshot | None, str]:
    """An instance's newest snapshot and the event cursor that follows it."""
    instance = state.instances.get(instance_id)
    if instance is None or instance.snapshot is None:
        return None, "0"
    snapshot, at = instance.snapshot
    return snapshot, str(at)


def news(state: MemoryState, cursor: Cursor) -> News:
    """What happened since the cursor."""
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
