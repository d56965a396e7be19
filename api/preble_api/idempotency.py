"""The `Idempotency-Key` header: a request that comes again makes no second job.

A job's id follows from its tenant, the key and its place in the request, so the queue itself
knows whether it is there already: nothing else is kept, and the key counts for as long as the
job and its result are.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from msgspec.structs import replace
from starlette.requests import Request

from preble.errors import InvalidJob
from preble.messages import JobId, Submission
from preble_api.deadlines import CANCEL_AFTER
from preble_api.job_ids import keyed_job_id
from preble_api.queue_headers import QUEUE_HEADERS

IDEMPOTENCY_KEY: Final = "Idempotency-Key"

_TELLING: Final = (*QUEUE_HEADERS.values(), CANCEL_AFTER)
"""Headers that say what the jobs are, as the body does."""

_KEY: Final = re.compile(r"[!-~]{1,255}")


async def under_key(request: Request, submissions: Sequence[Submission]) -> Sequence[Submission]:
    """The jobs of a request, under the ids that its key gives them, if it has one.

    Raises:
        InvalidJob: If the key is none.
    """
    key = request.headers.get(IDEMPOTENCY_KEY)
    if key is None:
        return submissions
    if not _KEY.fullmatch(key):
        msg = "must be 1 to 255 printable ASCII characters without spaces"
        raise InvalidJob(IDEMPOTENCY_KEY, msg)
    fingerprint = await fingerprint_of(request)
    return [
        replace(each, job_id=_job_id(each.spec.tenant, key, place), fingerprint=fingerprint)
        for place, each in enumerate(submissions)
    ]


async def fingerprint_of(request: Request) -> str:
    """What tells a request from another one of the same name: its path, headers and body."""
    told = [request.url.path, *(request.headers.get(name, "") for name in _TELLING)]
    digest = sha256("\0".join(told).encode() + b"\0")
    digest.update(await request.body())
    return digest.hexdigest()


def _job_id(tenant: str, key: str, place: int) -> JobId:
    """No part can hold the byte between them."""
    name = f"{tenant}\0{key}\0{place}"
    return keyed_job_id(key, sha256(name.encode()).hexdigest())
