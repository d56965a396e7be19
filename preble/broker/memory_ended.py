"""What the memory broker keeps of jobs that have ended, in the order in which they ended."""

import math
from collections.abc import Iterator
from itertools import islice

import msgspec

from preble.broker.bounds import Bounds
from preble.broker.ended import ended_bytes, failure_text, result_text
from preble.broker.memory_records import Job
from preble.messages import JobId, encode


class EndedJobs:
    """How many bytes are kept of each, and which are to be dropped.

    Args:
        bounds: How many bytes of all together.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._most_bytes = bounds.max_ended_bytes
        self._bytes: dict[JobId, int] = {}
        self.num_bytes = 0
        """Of all of them."""
        self.dropped_until_s = -math.inf
        """Up to when jobs may have ended that were dropped."""

    def keep(self, job_id: JobId, job: Job, *, ran: bool) -> None:
        """A job has ended; `ran`: in an execution that ended with it."""
        self._bytes[job_id] = 0
        self._add(job_id, ended_bytes(_texts(job), _streams(job, ran=ran)))

    def add(self, job_id: JobId, more: bytes) -> None:
        """More is kept of a job; nothing changes if it has not ended."""
        if job_id in self._bytes:
            self._add(job_id, len(more))

    def forget(self, job_id: JobId) -> None:
        """It is to run again, or was dropped."""
        self.num_bytes -= self._bytes.pop(job_id)

    def beyond(self, most: int) -> list[JobId]:
        """The first ones, at most so many, that pass the bound; never the last one."""
        held, dropped = self.num_bytes, list[JobId]()
        for job_id in islice(self._bytes, max(0, min(most, len(self._bytes) - 1))):
            if held <= self._most_bytes:
                break
            held -= self._bytes[job_id]
            dropped.append(job_id)
        return dropped

    def _add(self, job_id: JobId, more_bytes: int) -> None:
        self._bytes[job_id] += more_bytes
        self.num_bytes += more_bytes


def _texts(job: Job) -> Iterator[bytes]:
    yield encode(job.spec)
    yield job.note or b""
    if job.webhook:
        yield encode(job.webhook) * 2
    if job.assignment:
        yield encode(job.assignment)
    if job.failure:
        yield msgspec.json.encode(job.failure)


def _streams(job: Job, *, ran: bool) -> Iterator[int]:
    if job.log:
        yield sum(len(encode(delta)) for delta in job.log)
    if ran and job.result:
        yield len(result_text(job.result))
    if ran and job.failure:
        yield len(failure_text(job.failure))
