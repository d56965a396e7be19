"""REAP of the memory broker: what the dead hold is taken back, what comes too late ends.

And what waits for the drained goes back.
"""

from preble.broker.answers import ATTEMPTS_USED_UP, DEADLINE_PASSED
from preble.broker.memory_state import MemoryState
from preble.messages import (
    QUARANTINE_AFTER,
    InstanceId,
    JobId,
    JobsReaped,
    JobState,
    Lease,
    Reaped,
)


def reap(state: MemoryState, *, limit: int, max_attempts: int) -> Reaped:
    """Take back at most so many jobs."""
    expired = _end_late(state, limit)
    requeued, failed = _take_back_expired(state, limit - len(expired), max_attempts)
    left = limit - len(expired) - len(requeued) - len(failed)
    recalled, gone = _empty_queues(state, left)
    taken_back = JobsReaped(tuple(requeued + recalled), tuple(gone))
    state.drop_oldest_ended(limit)
    if taken_back.requeued or taken_back.gone:
        state.signal(taken_back)
    return Reaped(taken_back.requeued, tuple(failed), tuple(expired), taken_back.gone)


def _end_late(state: MemoryState, limit: int) -> list[JobId]:
    late = [
        (job.deadline_at_s, job_id)
        for job_id, job in state.jobs.items()
        if not job.state.is_terminal and state.is_late(job)
    ]
    expired = [job_id for _, job_id in sorted(late)][:limit]
    for job_id in expired:
        state.stop(job_id, state.jobs[job_id], JobState.EXPIRED, DEADLINE_PASSED)
    return expired


def _take_back_expired(
    state: MemoryState, limit: int, max_attempts: int
) -> tuple[list[JobId], list[JobId]]:
    now_s = state.clock.now_s()
    expired = [lease for lease, at_s in state.leases.items() if at_s <= now_s][:limit]
    # Each goes to the front, so the last submitted goes first: submission order remains.
    expired.sort(key=lambda lease: state.jobs[lease.job_id].order, reverse=True)
    requeued: list[JobId] = []
    failed: list[JobId] = []
    for lease in expired:
        may_run_again = _take_back(state, lease, max_attempts)
        (requeued if may_run_again else failed).append(lease.job_id)
    return requeued, failed


def _take_back(state: MemoryState, lease: Lease, max_attempts: int) -> bool:
    """End an execution. False if the job fails with it."""
    state.end_execution(lease)
    job = state.jobs[lease.job_id]
    if job.attempt >= max_attempts:
        job.execution_id = None  # none ended this job, so none may later hear that it did
        state.conclude(lease.job_id, job, JobState.FAILED, failure=ATTEMPTS_USED_UP)
        return False
    state.make_waiting(lease.job_id, job)
    state.count("requeued", 1)
    if job.attempt == QUARANTINE_AFTER:
        state.count("quarantined", 1)
    return True


def _empty_queues(state: MemoryState, limit: int) -> tuple[list[JobId], list[InstanceId]]:
    now_s = state.clock.now_s()
    recalled: list[JobId] = []
    gone: list[InstanceId] = []
    for instance_id, instance in list(state.instances.items()):
        is_dead = instance.expires_at_s <= now_s
        if not is_dead and instance_id not in state.drained_at_s:
            continue
        while instance.queue and len(recalled) < limit:
            job_id = instance.queue.pop()
            state.make_waiting(job_id, state.jobs[job_id])
            recalled.append(job_id)
        if is_dead and not instance.queue:
            del state.instances[instance_id]
            gone.append(instance_id)
    return recalled, gone
