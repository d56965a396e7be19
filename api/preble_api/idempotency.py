"""The `Idempotency-Key` header: a request that comes again makes no second job.

A job's id follows from its tenant, the key and its place in the request, so the queue itself
knows whether it is there already: nothing else is kept, and the key counts for as long as the
job and its result are. A job may also bring a key of its own, `idempotency_key`: then it is
found again in whatever list it comes.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace
from starlette.requests import Request

from preble.errors import InvalidJob
from preble.messages import JobId, Submission
from preble_api.deadlines import CANCEL_AFTER
from preble_api.job_ids import JobIds
from preble_api.queue_headers import QUEUE_HEADERS
from preble_api.schemas import NO_KEY, JobRequest

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

_TELLING: Final = (*QUEUE_HEADERS.values(), CANCEL_AFTER)
"""Headers that say what the jobs are, as the body does."""

_KEY: Final = re.compile(r"[!-~]{1,255}")
_OWN: Final = "own"
"""Stands in a job's name where another has its place in a request."""


async def under_key(
    request: Request, submissions: Sequence[Submission], ids: JobIds
) -> Sequence[Submission]:
    """The jobs of a request, under the ids that its key gives them, if it has one.

    Raises:
        InvalidJob: If the key is none.
    """
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return submissions
    if not _KEY.fullmatch(key):
        raise InvalidJob(IDEMPOTENCY_KEY, NO_KEY)
    fingerprint = await fingerprint_of(request)
    return [
        replace(
            each,
            job_id=_job_id(ids, each.spec.tenant, key, str(place)),
            fingerprint=fingerprint,
        )
        for place, each in enumerate(submissions)
    ]


def under_own_keys(
    requests: Sequence[JobRequest], submissions: Sequence[Submission], ids: JobIds
) -> Sequence[Submission]:
    """The jobs of a list, under the ids that their own keys give them, those that have one.

    Raises:
        InvalidJob: If two of them have the same.
    """
    if all(each.idempotency_key is None for each in requests):
        return submissions
    keyed = [
        _under_own_key(request, each, ids)
        for request, each in zip(requests, submissions, strict=True)
    ]
    seen: set[JobId] = set()
    for place, each in enumerate(keyed):
        if each.job_id in seen:
            raise InvalidJob(f"jobs[{place}].idempotency_key", "is the key of a job before it")
        seen.add(each.job_id)
    return keyed


def _under_own_key(request: JobRequest, submission: Submission, ids: JobIds) -> Submission:
    key = request.idempotency_key
    if key is None:
        return submission
    return replace(
        submission,
        job_id=_job_id(ids, submission.spec.tenant, key, _OWN),
        fingerprint=_fingerprint(request),
    )


def _fingerprint(request: JobRequest) -> str:
    """Alike for a job alone and in a list."""
    fields = [getattr(request, name) for name in JobRequest.__struct_fields__]
    return sha256(msgspec.json.encode(fields)).hexdigest()


async def fingerprint_of(request: Request) -> str:
    """What tells a request from another one of the same name: its path, headers and body."""
    told = [request.url.path, *(request.headers.get(name, "") for name in _TELLING)]
    digest = sha256("\0".join(told).encode() + b"\0")
    digest.update(await request.body())
    return digest.hexdigest()


def _job_id(ids: JobIds, tenant: str, key: str, place: str) -> JobId:
    """No part can hold the byte between them."""
    name = f"{tenant}\0{key}\0{place}"
    return ids.keyed(key, sha256(name.encode()).hexdigest())
