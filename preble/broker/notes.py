"""Notes: a few bytes that an api keeps with a job, such as what a response repeats of its request.

A note lies in the job's own record, so it goes when the job and its result go, and never before.
"""

from typing import Protocol

from preble.messages import JobId


class Notes(Protocol):
    """The notes of a pool's jobs, one for each job."""

    async def keep(self, job_id: JobId, note: bytes) -> bytes | None:
        """Keep a note with a job that was admitted, unless it has one.

        Returns:
            The note that the job has now, or None if the job is unknown.

        Raises:
            BrokerUnavailable: If the queue did not answer; calling again does no harm.
        """
        ...

    async def read(self, job_id: JobId) -> bytes | None:
        """A job's note, or None if it has none. Raises: BrokerUnavailable."""
        ...

    async def drop(self, job_id: JobId) -> bool:
        """Remove a job's note. Whether there was one. Raises: BrokerUnavailable."""
        ...
