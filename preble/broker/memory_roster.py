"""DRAIN, RESUME and the roster of the memory broker; see `roster.py`."""

from preble.broker.memory_records import Instance
from preble.broker.memory_state import MemoryState
from preble.broker.roster import state_of
from preble.messages import (
    QUARANTINE_AFTER,
    InstanceDrained,
    InstanceId,
    InstanceResumed,
    InstanceView,
    JobState,
)


class MemoryRoster:
    """The instances of one pool. Implements `Roster`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def views(self) -> list[InstanceView]:
        """The registered instances and those that are drained, by id."""
        names = sorted({*self._state.instances, *self._state.drained_at_s})
        return [self._view(name, self._state.instances.get(name)) for name in names]

    async def drain(self, instance_id: InstanceId) -> bool:
        """Give an instance no more jobs."""
        state = self._state
        if instance_id in state.drained_at_s:
            return True
        if instance_id not in state.instances:
            return False
        state.drained_at_s[instance_id] = state.clock.now_s()
        state.signal(InstanceDrained(instance_id))
        return True

    async def resume(self, instance_id: InstanceId) -> None:
        """Give an instance jobs again."""
        if self._state.drained_at_s.pop(instance_id, None) is not None:
            self._state.signal(InstanceResumed(instance_id))

    def _view(self, instance_id: InstanceId, instance: Instance | None) -> InstanceView:
        now_s, drained_at_s = self._state.clock.now_s(), self._state.drained_at_s.get(instance_id)
        attempts = self._running_attempts(instance_id)
        assigned = len(instance.queue) if instance else 0
        renewed_at_s = instance.renewed_at_s if instance else None
        state = state_of(
            is_registered=instance is not None,
            is_alive=instance is not None and instance.expires_at_s > now_s,
            is_drained=drained_at_s is not None, num_jobs=assigned + len(attempts),
            runs_alone=bool(attempts) and max(attempts) > QUARANTINE_AFTER,
        )  # fmt: skip
        return InstanceView(
            instance_id=instance_id, state=state, record=instance.record if instance else None,
            assigned=assigned, running=len(attempts), drained_at_s=drained_at_s,
            renewed_ago_s=None if renewed_at_s is None else now_s - renewed_at_s,
            report=instance.report if instance else None,
            unsaved_batches=_unsaved_batches(instance) if instance else 0, lost_batches=0,
        )  # fmt: skip

    def _running_attempts(self, instance_id: InstanceId) -> list[int]:
        """Of each job that runs there, which attempt it is."""
        jobs = self._state.jobs.values()
        return [
            job.attempt
            for job in jobs
            if job.state is JobState.RUNNING and job.instance_id == instance_id
        ]


def _unsaved_batches(instance: Instance) -> int:
    last_seq = instance.batches[-1].seq if instance.batches else 0
    return last_seq - (instance.snapshot[0].seq if instance.snapshot else 0)
