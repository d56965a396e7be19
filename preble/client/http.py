"""The client itself: requests, attempts, replies."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from preble.client.errors import (
    JobUnknown,
    RequestRefused,
    ServerUnreachable,
    SubmissionUncertain,
    UnexpectedReply,
    WaitTimeout,
)
from preble.client.replies import Job
from preble.client.retries import Outcome, may_try_again, retry_after_s, retry_pause_s
from preble.client.watch import JobWatch
from preble.clock import Clock, SystemClock
from preble.errors import ConfigError, PrebleError

JobFields = Mapping[str, object]
"""A job as the api takes it: `prompt`, `messages` or `input_ids`; `sampling_params`, `model`,
`priority`, `tenant`, `deadline_s`."""

MAX_JOBS_PER_CALL: Final = 1_000
MAX_BYTES_PER_CALL: Final = 8 * 1024 * 1024
POLL_PERIOD_S: Final = 0.5
"""Pause between two looks at one job if the api names none."""

TIMEOUT_S: Final = 30.0
RETRY_FOR_S: Final = 60.0
_log = logging.getLogger(__name__)
_GONE: Final = frozenset({404, 410})

_Reply = TypeVar("_Reply")


class _Accepted(msgspec.Struct, frozen=True):
    id: str


class _AcceptedList(msgspec.Struct, frozen=True):
    data: list[_Accepted]


class _ErrorDetail(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None
    param: str | None = None


class _Problem(msgspec.Struct, frozen=True):
    error: _ErrorDetail


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
        self._url = url
        self._retry_for_s = retry_for_s
        self._clock = clock or SystemClock()
        self._sleep = sleep
        self._http = httpx2.Client(
            base_url=_checked(url),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
            timeout=TIMEOUT_S,
            transport=transport,
            # A proxy from the environment cannot reach this machine's own loopback.
            trust_env=not is_loopback(url),
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def submit(self, jobs: Sequence[JobFields]) -> list[str]:
        """Submit jobs in one call: all are accepted, or none.

        Args:
            jobs: At most `MAX_JOBS_PER_CALL`; `calls` cuts longer lists, those of priority
                `batch` best after `in_prefix_order`.

        Returns:
            Their ids, in the same order.

        Raises:
            RequestRefused: If a job is wrong, naming its field, or the queue stays full.
            SubmissionUncertain: If nobody can know whether they were accepted.
            ServerUnreachable: If they surely were not.
        """
        if not jobs:
            return []
        body = msgspec.json.encode(jobs)
        reply = self._request("POST", "/v1/jobs", body, is_repeatable=False)
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
            reply = self._request("GET", path, None, is_repeatable=True)
        except JobUnknown as error:
            # The api's words do not say which of many jobs it is.
            raise error.about(job_id) from None
        pause_s = retry_after_s(reply)
        return _decoded(reply, Job), POLL_PERIOD_S if pause_s is None else pause_s

    def cancel(self, job_id: str) -> Job:
        """End a job, wherever it stands; one that has ended stays as it is.

        Returns:
            The job, which has ended.

        Raises:
            JobUnknown: If there is no such job, or its result has expired.
            ServerUnreachable: If the api does not answer.
        """
        path = f"/v1/jobs/{quote(job_id, safe='')}/cancel"
        try:
            return _decoded(self._request("POST", path, None, is_repeatable=True), Job)
        except JobUnknown as error:
            raise error.about(job_id) from None

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

    def _request(
        self, method: str, path: str, body: bytes | None, *, is_repeatable: bool
    ) -> httpx2.Response:
        """One request, tried again while that makes sense. Returns a success."""
        give_up_s = self._clock.now_s() + self._retry_for_s
        failures = 0
        while True:
            outcome = self._attempt(method, path, body)
            if not may_try_again(outcome, is_repeatable=is_repeatable):
                return self._success(outcome, is_repeatable=is_repeatable)
            failures += 1
            jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
            pause_s = retry_pause_s(failures, retry_after_s(outcome), jitter=jitter)
            if self._clock.now_s() + pause_s > give_up_s:
                return self._success(outcome, is_repeatable=is_repeatable)
            if failures == 1:
                _log.warning("%s: trying again for %g s", self._why(outcome), self._retry_for_s)
            self._sleep(pause_s)

    def _attempt(self, method: str, path: str, body: bytes | None) -> Outcome:
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            return self._http.request(method, path, content=body, headers=headers)
        except httpx2.TransportError as error:
            return error

    def _success(self, outcome: Outcome, *, is_repeatable: bool) -> httpx2.Response:
        """The final reply, if it is a success; else its error."""
        if isinstance(outcome, httpx2.Response):
            if outcome.is_success:
                return outcome
            raise _refusal(outcome)
        if is_repeatable or may_try_again(outcome, is_repeatable=False):
            raise ServerUnreachable(self._why(outcome)) from outcome
        msg = f"{self._why(outcome)}: the jobs may have been accepted or not"
        raise SubmissionUncertain(msg) from outcome

    def _why(self, outcome: Outcome) -> str:
        """Why an attempt failed, in words."""
        if isinstance(outcome, httpx2.Response):
            return f"{self._url} answers {outcome.status_code} {outcome.reason_phrase}"
        return f"cannot reach {self._url}: {str(outcome) or type(outcome).__name__}"


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


def _checked(url: str) -> str:
    try:
        httpx2.URL(url)
        is_usable = url.startswith(("http://", "https://")) and bool(urlsplit(url).hostname)
    except (httpx2.InvalidURL, ValueError):
        is_usable = False
    if not is_usable:
        msg = f"`{url}` is no URL of an api: give one such as http://127.0.0.1:8000"
        raise ConfigError(msg)
    return url


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine's loopback interface."""
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}


def _refusal(reply: httpx2.Response) -> PrebleError:
    try:
        detail = msgspec.json.decode(reply.content, type=_Problem).error
    except msgspec.DecodeError:
        return UnexpectedReply(f"{reply.url} answered {reply.status_code}, and not as Preble does")
    kind = JobUnknown if reply.status_code in _GONE else RequestRefused
    return kind(
        detail.message, status=reply.status_code, code=detail.code or "", field=detail.param
    )


def _decoded(reply: httpx2.Response, kind: type[_Reply]) -> _Reply:
    try:
        return msgspec.json.decode(reply.content, type=kind)
    except msgspec.DecodeError as error:
        msg = f"{reply.url} answered, but not as Preble does: {error}"
        raise UnexpectedReply(msg) from None
