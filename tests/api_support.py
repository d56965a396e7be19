"""What the tests of the api share: brokers that misbehave, a worker by hand."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from typing import Final, Protocol

import httpx2
from msgspec.structs import replace
from support import assignment, completed, record

from preble.broker import Broker
from preble.broker.answers import Admitted, Retried
from preble.broker.api_keys import ApiKeys
from preble.broker.lists import JobPage, JobQuery
from preble.broker.memory import MemoryBroker
from preble.broker.memory_counts import MemoryCounts
from preble.config import Settings
from preble.errors import BrokerUnavailable
from preble.messages import (
    ClaimedJob,
    JobFailure,
    JobId,
    JobState,
    JobView,
    Outcome,
    PoolStats,
    Submission,
    TokenDelta,
    TokenLogprob,
)
from preble_api.job_ids import JobIds

SOME_JOB: Final = JobIds("default").new()
"""An id that a job may have."""


class Serve(Protocol):
    """Serves an api for the length of a block."""

    def __call__(
        self, settings: Settings, broker: Broker, api_keys: ApiKeys | None = None
    ) -> AbstractAsyncContextManager[httpx2.AsyncClient]: ...


class DownCounts(MemoryCounts):
    """Counts that cannot be had."""

    async def stats(self) -> PoolStats:
        raise BrokerUnavailable("redis is gone")


class DownBroker(MemoryBroker):
    """A queue that was reached once and no longer is."""

    def __init__(self, *, max_jobs: int = 100_000) -> None:
        super().__init__(max_jobs=max_jobs)
        self.counts = DownCounts(self._state)

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        del batches
        raise BrokerUnavailable("redis is gone")

    async def view(self, job_id: JobId) -> JobView | None:
        del job_id
        raise BrokerUnavailable("redis is gone")

    async def cancel(self, job_ids: Sequence[JobId]) -> list[JobState | None]:
        del job_ids
        raise BrokerUnavailable("redis is gone")

    async def list_jobs(self, query: JobQuery) -> JobPage:
        del query
        raise BrokerUnavailable("redis is gone")

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        del job_ids
        raise BrokerUnavailable("redis is gone")


class OneWorker:
    """An instance, its scheduler and its engine, one step at a time."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._record = record()
        self._claim_numbers = count(1)
        self._claims: list[ClaimedJob] = []

    async def assign_all(self) -> None:
        """Every waiting job to the one instance."""
        await self._broker.register(self._record, lease_s=60)
        token = await self._broker.lead("scheduler", ttl_s=60)
        assert token
        waiting = await self._broker.peek(1_000)
        moves = [(job.ingress, assignment(job)) for job in waiting]
        assert all(await self._broker.route(token, moves))

    async def run_all(self) -> list[ClaimedJob]:
        """Claim every assigned job."""
        self._claims = await self._broker.claim(
            self._record, number=next(self._claim_numbers), jobs=1_000, tokens=1_000_000,
            num_held=0, lease_s=60,
        )  # fmt: skip
        return self._claims

    async def tell_all(self, number: int, text: str, *, before: str) -> None:
        """Tell a text of every claimed job, with one token, and let the readers hear it."""
        for claim in self._claims:
            ids = (number + 1,)
            delta = TokenDelta(claim.job_id, claim.execution_id, number, len(before), ids, text)
            await self._broker.streams.publish({claim.spec.inbox: [delta]}, [])
        for _ in range(20):
            await asyncio.sleep(0)

    async def complete_all(self, *, logprobs: tuple[TokenLogprob, ...] = ()) -> None:
        """Finish every claimed job with the same result."""
        outcomes = [completed(claim.lease) for claim in self._claims]
        await self._finish([
            replace(each, result=each.result and replace(each.result, logprobs=logprobs))
            for each in outcomes
        ])  # fmt: skip

    async def fail_all(self, failure: JobFailure) -> None:
        """Finish every claimed job with a failure."""
        await self._finish([Outcome(claim.lease, failure=failure) for claim in self._claims])

    async def _finish(self, outcomes: Sequence[Outcome]) -> None:
        assert all(await self._broker.finish(self._record, outcomes))
