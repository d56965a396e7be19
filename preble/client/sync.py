"""The client that blocks."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Self

import httpx2

from preble.client import flow as flows
from preble.client.calls import MAX_JOBS_PER_PAGE, JobFields, encoded, page_query
from preble.client.errors import WaitTimeout
from preble.client.events import JobEvent
from preble.client.flow import Flow, Item
from preble.client.replies import Job
from preble.client.sync_shell import Shell
from preble.client.watch import JobWatch
from preble.clock import Clock, SystemClock
from preble.explanation import Explanation
from preble.messages import JobState

RETRY_FOR_S: Final = 60.0
MAX_INFLIGHT: Final = 256
"""Jobs that `map` has open at once."""


class Client:
    """Talks to one api. Safe to use from several threads; close it, or use it as a block.

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
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock or SystemClock()
        self._shell = Shell(
            url, api_key=api_key, retry_for_s=retry_for_s, transport=transport, clock=self._clock,
            sleep=sleep,
        )  # fmt: skip
        self._calls = self._shell.calls
        self._run = self._shell.run

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._shell.close()

    def submit(self, jobs: Sequence[JobFields], *, idempotency_key: str | None = None) -> list[str]:
        """Submit jobs in one call: all are accepted, or none.

        Args:
            jobs: At most `MAX_JOBS_PER_CALL`; `calls` cuts longer lists, those of priority
                `batch` best after `in_prefix_order`.
            idempotency_key: A name for these jobs: submitted again under it they are found, in
                whatever state, and not made twice. By default a new one. A job with an
                `idempotency_key` of its own is found in whatever list it comes again.

        Returns:
            Their ids, in the same order.

        Raises:
            RequestRefused: If a job is wrong, naming its field, or the queue stays full.
            SubmissionUncertain: If nobody can know whether they were accepted, naming the key.
            ServerUnreachable: If they surely were not.
        """
        return self._run(self._calls.submit(encoded(jobs), idempotency_key))

    def get(self, job_id: str) -> Job:
        """A job as it stands.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        return self.look(job_id)[0]

    def look(self, job_id: str) -> tuple[Job, float]:
        """As `get`, with the seconds after which the api wants to be asked again."""
        return self._run(self._calls.look(job_id))

    def explain(self, job_id: str) -> Explanation:
        """Why a job went where it went, or what it waits for.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        return self._run(self._calls.explain(job_id))

    def cancel(self, job_id: str) -> Job:
        """End a job, wherever it stands; one that has ended stays as it is.

        Returns:
            The job, which has ended.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        return self._run(self._calls.cancel(job_id))

    def retry(self, job_id: str) -> Job:
        """Let a failed job run again, as if it had just been submitted.

        Returns:
            The job, which waits; or as it stands, if it had not ended.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            RequestRefused: If it ended and did not fail (`job_not_failed`), its prompt is no longer
                kept (`prompt_dropped`), or the queue stays full (`queue_full`).
            ServerUnreachable: If the api does not answer.
        """
        return self._run(self._calls.retry(job_id))

    def models(self) -> list[str]:
        """Names of the models that are served. Raises: ServerUnreachable."""
        return self._run(self._calls.models())

    def list_jobs(
        self,
        *,
        status: JobState | None = None,
        tenant: str | None = None,
        is_newest_first: bool = True,
        page_jobs: int = MAX_JOBS_PER_PAGE,
    ) -> Iterator[Job]:
        """All jobs of the pool that have not expired, a page at a time as they are asked for.

        They come without position, assignment and result; `get` has those.

        Args:
            status: Only those that stand so.
            tenant: Only its.
            is_newest_first: Else the oldest come first.
            page_jobs: Most jobs of a page, at most `MAX_JOBS_PER_PAGE`.

        Raises:
            RequestRefused: If an argument is wrong.
            ServerUnreachable: If the api does not answer.
        """
        query = page_query(status, tenant, is_newest_first=is_newest_first, page_jobs=page_jobs)
        while True:
            page = self._run(self._calls.page(query))
            yield from page.data
            if page.next is None:
                return
            query["after"] = page.next

    def watch(self, job_ids: Iterable[str] = ()) -> JobWatch:
        """Follow jobs as they end; more can be added while it runs."""
        return JobWatch(self._calls, self._run, job_ids)

    def wait(
        self,
        job_ids: Sequence[str],
        *,
        timeout_s: float = float("inf"),
        on_progress: Callable[[int], None] | None = None,
    ) -> list[Job]:
        """Wait until all jobs have ended, however.

        Args:
            job_ids: From `submit`.
            timeout_s: Seconds after which to give up.
            on_progress: Told after each look how many have ended.

        Returns:
            The jobs in the order of `job_ids`.

        Raises:
            WaitTimeout: If the time is over.
            JobUnknown: If one does not exist.
            ServerUnreachable: If the api does not answer.
        """
        ended: dict[str, Job] = {}
        deadline_s = self._clock.now_s() + timeout_s
        watch = self.watch(job_ids)
        while watch.num_open:
            left_s = deadline_s - self._clock.now_s()
            if left_s <= 0:
                raise WaitTimeout(f"{watch.num_open} jobs had not ended after {timeout_s:g} s")
            ended.update((job.id, job) for job in watch.look(at_most_s=left_s))
            if on_progress:
                on_progress(len(ended))
        return [ended[job_id] for job_id in job_ids]

    def stream(self, job: str | JobFields) -> Iterator[JobEvent]:
        """What happens to a job, to its end, over as many connections as it takes.

        Args:
            job: The id of one that was submitted with `"stream": true`, else no text is told
                before its end; or the fields of a new one.

        Raises:
            RequestRefused, JobUnknown: As `submit` and `get`.
            ServerUnreachable: If no event comes for `retry_for_s`, though it was tried.
        """
        [job_id] = [job] if isinstance(job, str) else self.submit([{**job, "stream": True}])
        return self._shell.events(job_id)

    def map(
        self,
        items: Iterable[Item],
        *,
        job: Callable[[Item], JobFields] = flows.as_job,
        max_inflight: int = MAX_INFLIGHT,
        ordered: bool = False,
    ) -> Iterator[tuple[Item, flows.Outcome]]:
        """Run a job for each item, as many as there are; memory is bounded by `max_inflight`.

        Args:
            items: Taken as there is room for them. Texts are prompts, mappings are jobs.
            job: Makes the job of any other item.
            max_inflight: Most jobs open at once.
            ordered: Whether to yield in the order of the items, not as they end.

        Yields:
            Each item with its job, which has ended however; or with a RequestRefused that says
            why it has none.

        Raises:
            SubmissionUncertain, ServerUnreachable: As `submit`.
            RequestRefused: If the api would take no job at all.
        """
        source = iter(items)
        flow = Flow(flows.body_by(job), max_inflight=max_inflight, is_ordered=ordered)
        while True:
            fresh = list(islice(source, flow.room))
            self.hand_over(flow, fresh)
            yield from flow.take()
            if not fresh and not flow.num_open:
                return
            self.look_at(flow)
            yield from flow.take()

    @property
    def shell(self) -> Shell:
        """Runs programs of one's own."""
        return self._shell

    def hand_over(self, flow: Flow[Item], items: Sequence[Item]) -> None:
        """Submit items of a flow. Raises: as `map`."""
        if items:
            self._run(flow.hand_over(self._calls, items))

    def look_at(self, flow: Flow[Any], *, at_most_s: float = float("inf")) -> None:
        """Ask which jobs of a flow have ended. Raises: ServerUnreachable."""
        self._run(flow.look(self._calls, at_most_s=at_most_s))
