"""The client for asyncio: the same methods, awaited."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Self

import httpx2

from preble.client import flow as flows
from preble.client.aio_shell import AsyncShell
from preble.client.calls import MAX_JOBS_PER_PAGE, JobFields, encoded, page_query
from preble.client.errors import WaitTimeout
from preble.client.events import JobEvent
from preble.client.flow import Flow, Item
from preble.client.looks import Looks
from preble.client.replies import Job
from preble.client.sync import MAX_INFLIGHT, RETRY_FOR_S
from preble.client.watch import known
from preble.clock import Clock, SystemClock
from preble.explanation import Explanation
from preble.messages import JobState


class AsyncClient:
    """Talks to one api, as `Client` does, which says what each method means and raises.

    Args:
        url: Where the api listens, such as `http://127.0.0.1:8000`.
        api_key: Bearer token; empty for none.
        retry_for_s: How long to go on trying before an error is raised.
        transport: Replaces the network, for tests.
        clock: Measures `retry_for_s` and `timeout_s`.
        sleep: Waits for so many seconds.

    Raises:
        ConfigError: If the URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "",
        retry_for_s: float = RETRY_FOR_S,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock or SystemClock()
        self._shell = AsyncShell(
            url, api_key=api_key, retry_for_s=retry_for_s, transport=transport, clock=self._clock,
            sleep=sleep,
        )  # fmt: skip
        self._calls = self._shell.calls
        self._run = self._shell.run

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._shell.close()

    async def submit(
        self, jobs: Sequence[JobFields], *, idempotency_key: str | None = None
    ) -> list[str]:
        """Submit jobs in one call: all are accepted, or none."""
        return await self._run(self._calls.submit(encoded(jobs), idempotency_key))

    async def get(self, job_id: str) -> Job:
        """A job as it stands."""
        return (await self.look(job_id))[0]

    async def look(self, job_id: str) -> tuple[Job, float]:
        """As `get`, with the seconds after which the api wants to be asked again."""
        return await self._run(self._calls.look(job_id))

    async def explain(self, job_id: str) -> Explanation:
        """Why a job went where it went, or what it waits for."""
        return await self._run(self._calls.explain(job_id))

    async def cancel(self, job_id: str) -> Job:
        """End a job, wherever it stands; one that has ended stays as it is."""
        return await self._run(self._calls.cancel(job_id))

    async def retry(self, job_id: str) -> Job:
        """Let a failed job run again, as if it had just been submitted."""
        return await self._run(self._calls.retry(job_id))

    async def models(self) -> list[str]:
        """Names of the models that are served."""
        return await self._run(self._calls.models())

    async def list_jobs(
        self,
        *,
        status: JobState | None = None,
        tenant: str | None = None,
        is_newest_first: bool = True,
        page_jobs: int = MAX_JOBS_PER_PAGE,
    ) -> AsyncIterator[Job]:
        """All jobs of the pool that have not expired, a page at a time as they are asked for."""
        query = page_query(status, tenant, is_newest_first=is_newest_first, page_jobs=page_jobs)
        while True:
            page = await self._run(self._calls.page(query))
            for job in page.data:
                yield job
            if page.next is None:
                return
            query["after"] = page.next

    async def wait(
        self,
        job_ids: Sequence[str],
        *,
        timeout_s: float = float("inf"),
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Job]:
        """Wait until all jobs have ended, however."""
        ended: dict[str, Job] = {}
        deadline_s = self._clock.now_s() + timeout_s
        looks = Looks(job_ids)
        while looks:
            left_s = deadline_s - self._clock.now_s()
            if left_s <= 0:
                raise WaitTimeout(f"{len(looks)} jobs had not ended after {timeout_s:g} s")
            found = await self._run(looks.look(self._calls, at_most_s=left_s))
            ended.update((job.id, job) for job in known(found))
            if on_progress:
                on_progress(len(ended))
        return [ended[job_id] for job_id in job_ids]

    async def stream(self, job: str | JobFields) -> AsyncIterator[JobEvent]:
        """What happens to a job, to its end, over as many connections as it takes."""
        [job_id] = [job] if isinstance(job, str) else await self.submit([{**job, "stream": True}])
        async for event in self._shell.events(job_id):
            yield event

    async def map(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        job: Callable[[Item], JobFields] = flows.as_job,
        max_inflight: int = MAX_INFLIGHT,
        ordered: bool = False,
    ) -> AsyncIterator[tuple[Item, flows.Outcome]]:
        """Run a job for each item, as many as there are; memory is bounded by `max_inflight`."""
        source = _source(items)
        flow = Flow(flows.body_by(job), max_inflight=max_inflight, is_ordered=ordered)
        while True:
            fresh = await _some(source, flow.room)
            if fresh:
                await self._run(flow.hand_over(self._calls, fresh))
            for pair in flow.take():
                yield pair
            if not fresh and not flow.num_open:
                return
            await self._run(flow.look(self._calls))
            for pair in flow.take():
                yield pair


async def _source(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _some(source: AsyncIterator[Item], most: int) -> list[Item]:
    """The next items, `most` of them unless there are fewer."""
    taken: list[Item] = []
    while len(taken) < most:
        try:
            taken.append(await anext(source))
        except StopAsyncIteration:
            break
    return taken
