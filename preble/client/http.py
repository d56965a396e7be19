"""The client itself: what can be asked of an api, and what it replies."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx2
import msgspec

from preble.client.connection import Connection
from preble.client.errors import JobUnknown, RequestRefused, UnexpectedReply, WaitTimeout
from preble.client.keys import dated_key
from preble.client.replies import Job
from preble.client.retries import retry_after_s
from preble.client.watch import JobWatch
from preble.clock import Clock, SystemClock
from preble.explanation import Explanation
from preble.messages import JobState

JobFields = Mapping[str, object]
"""A job as the api takes it: `prompt`, `messages` or `input_ids`; `sampling_params`, `model`,
`priority`, `tenant`, `deadline_s`."""

MAX_JOBS_PER_CALL: Final = 1_000
MAX_JOBS_PER_PAGE: Final = 100
MAX_BYTES_PER_CALL: Final = 8 * 1024 * 1024
POLL_PERIOD_S: Final = 0.5
"""Pause between two looks at one job if the api names none."""

RETRY_FOR_S: Final = 60.0

_Reply = TypeVar("_Reply")


class _Accepted(msgspec.Struct, frozen=True):
    id: str


class _AcceptedList(msgspec.Struct, frozen=True):
    data: list[_Accepted]


class _Page(msgspec.Struct, frozen=True):
    data: list[Job]
    next: int | None = None


class PrebleClient:
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
        self._sleep = sleep
        self._server = Connection(
            url,
            api_key=api_key,
            retry_for_s=retry_for_s,
            transport=transport,
            clock=self._clock,
            sleep=sleep,
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._server.close()

    def submit(self, jobs: Sequence[JobFields], *, idempotency_key: str | None = None) -> list[str]:
        """Submit jobs in one call: all are accepted, or none.

        Args:
            jobs: At most `MAX_JOBS_PER_CALL`; `calls` cuts longer lists, those of priority
                `batch` best after `in_prefix_order`.
            idempotency_key: A name for these jobs: submitted again under it they are found, in
                whatever state, and not made twice. By default a new one.

        Returns:
            Their ids, in the same order.

        Raises:
            RequestRefused: If a job is wrong, naming its field, or the queue stays full.
            SubmissionUncertain: If nobody can know whether they were accepted, naming the key.
            ServerUnreachable: If they surely were not.
        """
        if not jobs:
            return []
        key = dated_key() if idempotency_key is None else idempotency_key
        reply = self._server.send("/v1/jobs", msgspec.json.encode(jobs), key)
        return [job.id for job in _decoded(reply, _AcceptedList).data]

    def get(self, job_id: str) -> Job:
        """A job as it stands.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        return self.look(job_id)[0]

    def look(self, job_id: str) -> tuple[Job, float]:
        """As `get`, with the seconds after which the api wants to be asked again."""
        path = f"/v1/jobs/{quote(job_id, safe='')}"
        try:
            reply = self._server.request("GET", path)
        except JobUnknown as error:
            # The api's words do not say which of many jobs it is.
            raise error.about(job_id) from None
        pause_s = retry_after_s(reply)
        return _decoded(reply, Job), POLL_PERIOD_S if pause_s is None else pause_s

    def explain(self, job_id: str) -> Explanation:
        """Why a job went where it went, or what it waits for.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        path = f"/v1/jobs/{quote(job_id, safe='')}/explain"
        try:
            return _decoded(self._server.request("GET", path), Explanation)
        except JobUnknown as error:
            raise error.about(job_id) from None

    def cancel(self, job_id: str) -> Job:
        """End a job, wherever it stands; one that has ended stays as it is.

        Returns:
            The job, which has ended.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        return self._post(job_id, "cancel")

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
        return self._post(job_id, "retry")

    def _post(self, job_id: str, action: str) -> Job:
        path = f"/v1/jobs/{quote(job_id, safe='')}/{action}"
        try:
            return _decoded(self._server.request("POST", path), Job)
        except RequestRefused as error:
            raise error.about(job_id) from None

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
        chosen = {"status": status, "tenant": tenant}
        query: dict[str, str | int] = {name: value for name, value in chosen.items() if value}
        query |= {"limit": page_jobs, "order": "desc" if is_newest_first else "asc"}
        while True:
            page = _decoded(self._server.request("GET", f"/v1/jobs?{urlencode(query)}"), _Page)
            yield from page.data
            if page.next is None:
                return
            query["after"] = page.next

    def watch(self, job_ids: Iterable[str] = ()) -> JobWatch:
        """Follow jobs as they end; more can be added while it runs."""
        return JobWatch(self.look, job_ids, clock=self._clock, sleep=self._sleep)

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
        with self.watch(job_ids) as watch:
            while watch.num_open:
                left_s = deadline_s - self._clock.now_s()
                if left_s <= 0:
                    msg = f"{watch.num_open} jobs had not ended after {timeout_s:g} s"
                    raise WaitTimeout(msg)
                ended.update((job.id, job) for job in watch.look(at_most_s=left_s))
                if on_progress:
                    on_progress(len(ended))
        return [ended[job_id] for job_id in job_ids]


def calls(jobs: Iterable[JobFields]) -> Iterator[list[JobFields]]:
    """Any number of jobs, cut into lists that one `submit` takes."""
    call: list[JobFields] = []
    size = 0
    for job in jobs:
        job_bytes = len(msgspec.json.encode(job))
        if call and (len(call) == MAX_JOBS_PER_CALL or size + job_bytes > MAX_BYTES_PER_CALL):
            yield call
            call, size = [], 0
        call.append(job)
        size += job_bytes
    if call:
        yield call


def _decoded(reply: httpx2.Response, kind: type[_Reply]) -> _Reply:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except msgspec.DecodeError as error:
        msg = f"{reply.url} answered, but not as Preble does: {error}"
        raise UnexpectedReply(msg) from None
