"""The `Prefer` header (RFC 7240): how long a request waits for its jobs, and what it says if not.

respond-async     answer at once, with where the job is found
wait=10           wait so many seconds, then answer so; a minute at most
neither           wait to the end
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from preble.messages import JobId, JobView
from preble_api.schemas import JobAccepted, JobListAccepted
from preble_api.views import links_of
from preble_api.waits import IsGone, Waits

PREFER: Final = "Prefer"
APPLIED: Final = "preference-applied"

LONGEST_WAIT_S: Final = 60
"""Of a `wait`; more is taken as so much."""

JOB_HEADER: Final = "x-preble-job"
"""Names the jobs of a request."""

MOST_NAMED: Final = 128
"""Ids in that header, 5 KB; clients and proxies refuse answers with much longer ones."""

_WAIT: Final = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_ASYNC: Final = "respond-async"
_JSON: Final = "application/json"

_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Preference:
    """What a client prefers; what it does not say so that it is understood is passed over."""

    is_async: bool = False
    wait_s: int | None = None
    """At most `LONGEST_WAIT_S`."""

    @property
    def bound_s(self) -> float | None:
        """Longest wait; None for one to the end."""
        if self.wait_s is not None:
            return self.wait_s
        return 0.0 if self.is_async else None

    @property
    def headers(self) -> dict[str, str]:
        """What of it was heeded."""
        if self.wait_s is not None:
            return {APPLIED: f"wait={self.wait_s}"}
        return {APPLIED: _ASYNC} if self.is_async else {}


def preference_of(request: Request) -> Preference:
    """What the request prefers."""
    stated = ",".join(request.headers.getlist(PREFER)).split(",")
    words = [each.partition(";")[0].strip() for each in stated]
    waits = [int(found[1]) for each in words if (found := _WAIT.fullmatch(each))]
    return Preference(
        is_async=any(each.lower() == _ASYNC for each in words),
        wait_s=min(waits[0], LONGEST_WAIT_S) if waits else None,
    )


async def ended_within(
    waits: Waits,
    job_ids: Sequence[JobId],
    bound_s: float | None,
    *,
    is_gone: IsGone | None = None,
    cancel_if_gone: bool = False,
) -> list[JobView] | None:
    """The jobs, all ended; None if they have not within the bound.

    Args:
        waits: Waits for each.
        job_ids: Of jobs that were admitted.
        bound_s: None to wait to the end.
        is_gone: As `Waits.ended`.
        cancel_if_gone: As `Waits.ended`.

    Raises:
        HttpError: As `Waits.ended`.
        ClientDisconnect: As `Waits.ended`.
    """
    if bound_s == 0:
        return None

    async def ended(job_id: JobId) -> JobView:
        return await waits.ended(job_id, is_gone=is_gone, cancel_if_gone=cancel_if_gone)

    try:
        async with asyncio.timeout(bound_s):
            return await _all(ended, job_ids)
    except TimeoutError:
        return None


async def _all(
    ended: Callable[[JobId], Awaitable[JobView]], job_ids: Sequence[JobId]
) -> list[JobView]:
    """The jobs, all ended. Raises: the first error, once no wait goes on.

    A client that has left so has all of its jobs cancelled, if it asked for that.
    """
    if len(job_ids) == 1:
        return [await ended(job_ids[0])]
    outcomes = await asyncio.gather(*map(ended, job_ids), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def deferred(preference: Preference, job_ids: Sequence[JobId]) -> Response:
    """The answer of a request that no longer waits: 202, and where its jobs are found."""
    accepted = [JobAccepted(each, links_of(each)) for each in job_ids]
    headers = {**job_headers(job_ids), **preference.headers}
    if len(accepted) != 1:
        body = _encode(JobListAccepted(accepted))
        return Response(body, HTTPStatus.ACCEPTED, headers, media_type=_JSON)
    headers["location"] = accepted[0].urls.self
    return Response(_encode(accepted[0]), HTTPStatus.ACCEPTED, headers, media_type=_JSON)


def job_headers(job_ids: Sequence[JobId]) -> dict[str, str]:
    """The header that names the jobs of a request, in its order, unless they are too many."""
    return {JOB_HEADER: ", ".join(job_ids)} if len(job_ids) <= MOST_NAMED else {}
