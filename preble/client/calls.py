"""What can be asked of an api, and what it replies: one program for each question. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

import httpx2
import msgspec

from preble.client.attempts import Attempts
from preble.client.errors import JobUnknown, RequestRefused
from preble.client.exchange import Exchange, Program, decoded
from preble.client.keys import dated_key
from preble.client.replies import Ended, Job, JobPage
from preble.client.retries import retry_after_s
from preble.explanation import Explanation
from preble.messages import JobState

JobFields = Mapping[str, object]
"""A job as the api takes it: `prompt`, `messages` or `input_ids`; `sampling_params` (`seed` and
`logprobs` among them), `model`, `priority`, `tenant`, `deadline_s`, `cache_salt`, `stream`,
`webhook`, `idempotency_key`."""

MAX_JOBS_PER_CALL: Final = 1_000
MAX_JOBS_PER_PAGE: Final = 100
MAX_BYTES_PER_CALL: Final = 8 * 1024 * 1024
POLL_PERIOD_S: Final = 0.5
"""Pause between two looks at one job if the api names none."""

_JOBS: Final = "/v1/jobs"


class _Accepted(msgspec.Struct, frozen=True):
    id: str


class _AcceptedList(msgspec.Struct, frozen=True):
    data: list[_Accepted]


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]


class Calls:
    """The programs of one api.

    Args:
        attempts: Tries requests until they are answered.
    """

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def submit(self, jobs: Sequence[bytes], idempotency_key: str | None) -> Program[list[str]]:
        """Jobs, each as JSON, in one call. Raises: as `Client.submit`."""
        if not jobs:
            return []
        key = dated_key() if idempotency_key is None else idempotency_key
        reply = yield from self._attempts.send(_JOBS, b"[%b]" % b",".join(jobs), key)
        return [job.id for job in decoded(reply, _AcceptedList).data]

    def ended(self, job_ids: Sequence[str], *, wait_s: int, pause_s: float) -> Program[Ended]:
        """Which of the jobs have ended.

        Args:
            job_ids: `watch.MAX_LOOK_JOBS` at most.
            wait_s: How long the api may wait until one has.
            pause_s: To let pass before.
        """
        query = urlencode({"ids": ",".join(job_ids)}, safe=",")
        headers = {"Prefer": f"wait={wait_s}"} if wait_s else {}
        ask = Exchange("GET", f"{_JOBS}/ended?{query}", None, headers, wait_s, pause_s)
        return decoded((yield from self._attempts.ask(ask)), Ended)

    def look(self, job_id: str) -> Program[tuple[Job, float]]:
        """A job, and the seconds after which the api wants to be asked again."""
        reply = yield from self._of_job("GET", job_id)
        pause_s = retry_after_s(reply)
        return decoded(reply, Job), POLL_PERIOD_S if pause_s is None else pause_s

    def explain(self, job_id: str) -> Program[Explanation]:
        """Why a job went where it went."""
        return decoded((yield from self._of_job("GET", job_id, "/explain")), Explanation)

    def cancel(self, job_id: str) -> Program[Job]:
        """End a job."""
        return decoded((yield from self._of_job("POST", job_id, "/cancel")), Job)

    def retry(self, job_id: str) -> Program[Job]:
        """Let a failed job run again."""
        return decoded((yield from self._of_job("POST", job_id, "/retry")), Job)

    def page(self, query: Mapping[str, str | int]) -> Program[JobPage]:
        """A page of the list of jobs."""
        ask = Exchange("GET", f"{_JOBS}?{urlencode(query)}")
        return decoded((yield from self._attempts.ask(ask)), JobPage)

    def models(self) -> Program[list[str]]:
        """Names of the models that are served."""
        reply = yield from self._attempts.ask(Exchange("GET", "/v1/models"))
        return [model.id for model in decoded(reply, _Models).data]

    def _of_job(self, method: str, job_id: str, what: str = "") -> Program[httpx2.Response]:
        try:
            return (yield from self._attempts.ask(Exchange(method, f"{path_of(job_id)}{what}")))
        except (JobUnknown, RequestRefused) as error:
            # The api's words do not say which of many jobs it is.
            raise error.about(job_id) from None


def path_of(job_id: str) -> str:
    """Where a job is found."""
    return f"{_JOBS}/{quote(job_id, safe='')}"


def page_query(
    status: JobState | None, tenant: str | None, *, is_newest_first: bool, page_jobs: int
) -> dict[str, str | int]:
    """The parameters of the first page of a list of jobs."""
    chosen = {"status": status, "tenant": tenant}
    query: dict[str, str | int] = {name: value for name, value in chosen.items() if value}
    return query | {"limit": page_jobs, "order": "desc" if is_newest_first else "asc"}


def encoded(jobs: Iterable[JobFields]) -> list[bytes]:
    """Jobs as JSON."""
    return [msgspec.json.encode(job) for job in jobs]


def calls(jobs: Iterable[JobFields]) -> Iterator[list[JobFields]]:
    """Any number of jobs, cut into lists that one `submit` takes."""
    call: list[JobFields] = []
    size = 0
    for job in jobs:
        job_bytes = len(msgspec.json.encode(job))
        if call and not has_room(len(call), size + job_bytes):
            yield call
            call, size = [], 0
        call.append(job)
        size += job_bytes
    if call:
        yield call


def has_room(num_jobs: int, num_bytes: int) -> bool:
    """Whether a call of so many jobs takes one more, with which it has so many bytes."""
    return num_jobs < MAX_JOBS_PER_CALL and num_bytes <= MAX_BYTES_PER_CALL
