"""The inbox of this api process: what it hears of the jobs that somebody here follows.

One task reads it for all. A job is expected before it is admitted, so that nothing of it is
missed; what is heard is kept as text, not as a queue, so that a slow reader holds nobody up.
"""

import asyncio
import contextlib
import logging
from collections.abc import Generator
from typing import Final
from uuid import uuid4

from preble.broker.insisting import LONGEST_PAUSE_S, insist
from preble.broker.streams import Streams
from preble.errors import BrokerError
from preble.messages import JobId
from preble_api.transcript import Transcript

MOST_EXPECTED: Final = 10_000
"""Jobs that nobody follows yet; of more, those expected first are found by asking for them."""

_LISTEN_S: Final = 2.0

_log = logging.getLogger(__name__)


class Bell:
    """Wakes all who wait for it."""

    def __init__(self) -> None:
        self.rings = 0
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wake them."""
        self.rings += 1
        rung, self._next = self._next, asyncio.Event()
        rung.set()

    async def rung(self, after: int, *, within_s: float) -> bool:
        """Wait until it was rung more than so often, or the time is up. Returns: Whether it was."""
        if self.rings == after:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._next.wait()
        return self.rings != after


class FollowedJob:
    """What is known here of one job.

    Args:
        is_told: Whether it surely tells this inbox.
    """

    def __init__(self, *, is_told: bool) -> None:
        self.is_told = is_told
        self.transcript = Transcript()
        self.news = Bell()
        """Rung when the transcript has changed."""
        self.end = Bell()
        """Rung when the job is worth a look: it has ended, or this api is being stopped."""
        self.followers = 0


class Inbox:
    """Hears of jobs.

    Args:
        streams: Where the inbox is.
    """

    def __init__(self, streams: Streams) -> None:
        self.name = uuid4().hex
        self._streams = streams
        self._jobs: dict[JobId, FollowedJob] = {}
        self._expected: dict[JobId, None] = {}

    def expect(self, job_id: JobId, *, is_told: bool) -> None:
        """Hear of a job that is about to be admitted, and then followed.

        Args:
            job_id: Of the job.
            is_told: Whether it surely tells this inbox: not, if it may have been admitted before.
        """
        if job_id in self._jobs:
            return
        self._jobs[job_id] = FollowedJob(is_told=is_told)
        self._expected[job_id] = None
        if len(self._expected) > MOST_EXPECTED:
            oldest = next(iter(self._expected))
            del self._expected[oldest], self._jobs[oldest]

    @contextlib.contextmanager
    def following(self, job_id: JobId) -> Generator[FollowedJob]:
        """What is known of a job, as long as it is followed."""
        self._expected.pop(job_id, None)
        job = self._jobs.setdefault(job_id, FollowedJob(is_told=False))
        job.followers += 1
        try:
            yield job
        finally:
            job.followers -= 1
            if not job.followers:
                del self._jobs[job_id]

    def wake_all(self) -> None:
        """Let all followers look at their jobs."""
        for job in self._jobs.values():
            job.end.ring()

    async def listen(self) -> None:
        """Hear, for ever."""
        while True:
            try:
                await insist(self._hear)
            except BrokerError as error:
                _log.warning("the inbox cannot be read: %s", error)
                await asyncio.sleep(LONGEST_PAUSE_S)

    async def _hear(self) -> None:
        news = await self._streams.listen(self.name, timeout_s=_LISTEN_S)
        for delta in news.deltas:
            if job := self._jobs.get(delta.job_id):
                job.transcript.add(delta)
                job.news.ring()
        for job_id in news.ended:
            if job := self._jobs.get(job_id):
                job.end.ring()
