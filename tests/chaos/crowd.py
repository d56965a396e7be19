"""Clients: each submits a batch until that is answered for good, and follows its jobs."""

import asyncio
import time
from collections.abc import Iterator
from random import Random
from typing import Final

from chaos.api_calls import ApiCalls
from chaos.pace import Pace
from chaos.workload import Batch, Job

FIRST_LOOK_S: Final = 0.8
LATER_LOOKS: Final = 1.5
"""Times as long between two looks as before the one before."""
RAREST_LOOK_S: Final = 5.0
SEEN_AGAIN: Final = 0.05
"""Share of ended jobs that are looked at once more."""
_RETRY_S: Final = 0.3
_LONGEST_RETRY_S: Final = 3.0


class Crowd:
    """Clients at work on the same list of batches.

    Args:
        calls: To the apis.
        batches: What they want done, in turn.
        num_jobs: That are to be accepted.
        pace: Says when a batch may be submitted.
        random: Picks what is left to chance.
    """

    def __init__(
        self, calls: ApiCalls, batches: Iterator[Batch], num_jobs: int, pace: Pace, random: Random
    ) -> None:
        self._calls = calls
        self._batches = batches
        self._left = num_jobs
        self._pace = pace
        self._random = random
        self.moved_at_s = time.monotonic()
        """When last a job was seen to have ended."""

    async def work(self, num_clients: int) -> None:
        """Until so many jobs have been accepted and have ended, or no batch is left."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(num_clients):
                tasks.create_task(self._serve())

    async def _serve(self) -> None:
        while self._left > 0 and (batch := next(self._batches, None)):
            self._left -= len(batch.jobs)
            await self._pace.submit(len(batch.jobs))
            if not await self.serve(batch):
                self._left += len(batch.jobs)

    async def serve(self, batch: Batch) -> bool:
        """One batch, to the end of its jobs. Returns: Whether it was accepted."""
        job_ids = await self.submit(batch)
        if job_ids:
            await self._follow(batch, job_ids)
        return bool(job_ids)

    async def submit(self, batch: Batch) -> tuple[str, ...]:
        """Under one key, until it is answered for good.

        A refusal is for good if no attempt before may have arrived unanswered; a client that
        gives up then knows that none of its jobs will ever run.

        Returns:
            The jobs; none if they were refused.
        """
        may_have_arrived, pause_s = False, _RETRY_S
        while True:
            said = await self._calls.submit(batch)
            is_refused = said.status == 429
            if said.status == 202 or (is_refused and batch.gives_up and not may_have_arrived):
                return said.job_ids
            may_have_arrived |= not is_refused
            await asyncio.sleep(self._random.uniform(0.5, 1) * pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    async def _follow(self, batch: Batch, job_ids: tuple[str, ...]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for job, job_id in zip(batch.jobs, job_ids, strict=True):
                if job.cancel_after_s is not None:
                    tasks.create_task(self._cancel(job, job_id))
            tasks.create_task(self._look_until_ended(job_ids))

    async def _cancel(self, job: Job, job_id: str) -> None:
        """Until that is answered: cancelling twice does no harm."""
        await asyncio.sleep(job.cancel_after_s or 0)
        while not (await self._calls.cancel(job_id)).has_ended:  # noqa: ASYNC110  # of another process
            await asyncio.sleep(_RETRY_S)  # the other side has no event to set

    async def _look_until_ended(self, job_ids: tuple[str, ...]) -> None:
        pending, pause_s = list(job_ids), FIRST_LOOK_S
        while pending:
            await asyncio.sleep(pause_s)
            seen = [await self._calls.look(job_id) for job_id in pending]
            left = [each.job_id for each in seen if not each.has_ended]
            if len(left) < len(pending):
                self.moved_at_s = time.monotonic()
            pending = left
            pause_s = min(LATER_LOOKS * pause_s, RAREST_LOOK_S)
        for job_id in job_ids:
            if self._random.random() < SEEN_AGAIN:
                await self._calls.look(job_id)
