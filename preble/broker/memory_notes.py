"""Notes in memory; see `notes.py`."""

from preble.broker.memory_state import MemoryState
from preble.messages import JobId


class MemoryNotes:
    """The notes of jobs. Implements `Notes`."""

    def __init__(self, state: MemoryState) -> None:
        self._jobs = state.jobs
        self._ended = state.ended

    async def keep(self, job_id: JobId, note: bytes) -> bytes | None:
        """Keep a note with a job that was admitted, unless it has one."""
        job = self._jobs.get(job_id)
        if job is not None and job.note is None:
            job.note = note
            job.num_sent_bytes += len(note)
            self._ended.add(job_id, note)
        return job.note if job else None

    async def read(self, job_id: JobId) -> bytes | None:
        """A job's note."""
        job = self._jobs.get(job_id)
        return job.note if job else None

    async def drop(self, job_id: JobId) -> bool:
        """Remove a job's note."""
        job = self._jobs.get(job_id)
        had_one = job is not None and job.note is not None
        if job is not None:
            job.note = None
        return had_one
