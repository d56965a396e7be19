"""Jobs that are followed while a worker, by hand, tells what it makes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import TypeVar

from msgspec.structs import replace
from support import assignment, completed, record, submission

from preble.broker.memory import MemoryBroker
from preble.clock import SystemClock
from preble.messages import (
    ClaimedJob,
    ExecutionId,
    JobFailure,
    JobId,
    JobSpec,
    JobView,
    Outcome,
    Submission,
    TokenDelta,
    TokenLogprob,
)
from preble_api.waits import Waits

WITHIN_S = 20.0
_T = TypeVar("_T")


class HandWorker:
    """Runs jobs on gpu0, as a test says."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._numbers = count(1)

    async def run(self, *submissions: Submission) -> list[ClaimedJob]:
        """Admit jobs and begin them."""
        assert await self._broker.admit([submissions]) == [None]
        return await self.begin()

    async def begin(self) -> list[ClaimedJob]:
        """Begin what was admitted."""
        await self._broker.register(record(), lease_s=600)
        return await self.claim()

    async def claim(self) -> list[ClaimedJob]:
        """Begin what waits."""
        token = await self._broker.lead("test", ttl_s=600)
        assert token
        await self._broker.reap(token, limit=100)
        waiting = await self._broker.peek(100)
        await self._broker.route(token, [(job.ingress, assignment(job)) for job in waiting])
        return await self._broker.claim(
            record(), number=next(self._numbers), jobs=100, tokens=1_000_000, num_held=0,
            lease_s=600,
        )  # fmt: skip

    async def lose(self, job: ClaimedJob) -> ClaimedJob:
        """The worker dies, and another one begins the job anew."""
        await self._broker.release(record(), [job.lease], is_attempt=True)
        [again] = await self.claim()
        return again

    async def tell(self, job: ClaimedJob, text: str, *, at: int = 0) -> None:
        """The job made this text, one token for each character."""
        told = logprobs_of(job.spec, ids_of(text))
        delta = TokenDelta(job.job_id, job.execution_id, at, at, ids_of(text), text, told)
        by_inbox = {job.spec.inbox: [delta]} if job.spec.is_streamed else {}
        await self._broker.streams.publish(by_inbox, [delta] if job.spec.is_logged else [])

    async def end(self, job: ClaimedJob, text: str) -> None:
        """The job completes with this text."""
        outcome = completed(job.lease, text)
        assert outcome.result
        ids = ids_of(text)
        told = logprobs_of(job.spec, ids)
        result = replace(outcome.result, output_ids=ids, logprobs=told)
        assert await self._broker.finish(record(), [replace(outcome, result=result)]) == [True]

    async def fail(self, job: ClaimedJob) -> None:
        """The job fails."""
        failure = Outcome(job.lease, failure=JobFailure("engine_refused", "too hot"))
        assert await self._broker.finish(record(), [failure]) == [True]


def ids_of(text: str) -> tuple[int, ...]:
    """A token for each character."""
    return tuple(text.encode())


def logprobs_of(spec: JobSpec, ids: Sequence[int]) -> tuple[TokenLogprob, ...]:
    """As a worker tells them, if it was asked: tokens of high ids are less likely."""
    number = spec.sampling.logprobs
    if number is None:
        return ()
    return tuple(
        TokenLogprob(-each / 8, tuple((each + beside, -beside / 8) for beside in range(number)))
        for each in ids
    )


def new_job(name: str = "a", *, fingerprint: str = "") -> Submission:
    """A job with a short prompt."""
    return submission(name, fingerprint=fingerprint)


@asynccontextmanager
async def listening(broker: MemoryBroker) -> AsyncGenerator[Waits]:
    """The waits of an api that hears of its jobs."""
    waits = Waits(broker, SystemClock(), longest_s=600)
    task = asyncio.create_task(waits.listen())
    await asyncio.sleep(0)
    async with asyncio.timeout(WITHIN_S):
        yield waits
    task.cancel()
    await asyncio.wait({task})


async def all_of(stream: AsyncGenerator[_T]) -> list[_T]:
    """What a stream yields, to its end."""
    async with aclosing(stream):
        return [each async for each in stream]


async def next_text(pieces: AsyncIterator[object], length: int) -> str:
    """The next pieces, until they have so many characters."""
    text = ""
    while len(text) < length:
        text += getattr(await anext(pieces), "text", "")
    return text


async def view_of(broker: MemoryBroker, name: str = "a") -> JobView:
    """A job as it stands."""
    view = await broker.view(JobId(name))
    assert view
    return view


def execution(number: int) -> ExecutionId:
    """The id of an execution."""
    return ExecutionId(f"e-{number}")


def texts(pieces: Sequence[object]) -> str:
    """All text of pieces."""
    return "".join(getattr(piece, "text", "") for piece in pieces)
