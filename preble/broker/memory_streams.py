"""TELL of the memory broker, and its inboxes and logs."""

from collections.abc import Mapping, Sequence

from preble.broker.memory_records import Job
from preble.broker.memory_state import MemoryState
from preble.broker.streams import LOG_START, MOST_LOG_BYTES, InboxNews, LogPage
from preble.messages import JobId, JobState, TokenDelta, encode


class MemoryStreams:
    """Streams of one pool in memory. Implements `preble.broker.streams.Streams`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def listen(self, inbox: str, *, timeout_s: float) -> InboxNews:
        """Wait until something comes into an inbox, or the timeout."""
        entries = self._state.inboxes.setdefault(inbox, [])
        if not entries:
            await self._state.wait(timeout_s)
        heard, entries[:] = list(entries), []
        return InboxNews(
            tuple(each for each in heard if isinstance(each, TokenDelta)),
            tuple(each for each in heard if not isinstance(each, TokenDelta)),
        )

    async def publish(
        self, by_inbox: Mapping[str, Sequence[TokenDelta]], logged: Sequence[TokenDelta]
    ) -> None:
        """Tell what executions have made."""
        for inbox, deltas in by_inbox.items():
            self._state.tell(inbox, *deltas)
        for delta in logged:
            job = self._state.jobs.get(delta.job_id)
            if job and job.state is JobState.RUNNING and job.execution_id == delta.execution_id:
                _log(job, delta)

    async def read_log(self, job_id: JobId, after: str) -> LogPage:
        """What a job's log holds after a place."""
        job = self._state.jobs.get(job_id)
        log = job.log if job else []
        start = 0 if after == LOG_START else int(after)
        return LogPage(tuple(log[start:]), str(max(start, len(log))))


def _log(job: Job, delta: TokenDelta) -> None:
    held_bytes = sum(len(encode(each)) for each in job.log)
    if held_bytes + len(encode(delta)) <= MOST_LOG_BYTES:
        job.log.append(delta)
