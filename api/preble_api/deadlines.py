"""The `Cancel-After` header: a deadline for all jobs of a request that name none of their own."""

import re
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace
from starlette.requests import Request

from preble.errors import InvalidJob
from preble_api.schemas import MAX_DEADLINE_S, JobRequest

CANCEL_AFTER: Final = "Cancel-After"

DURATION: Final = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8}(?:\.\d{1,3})?)s?)?")


def with_deadline(request: Request, jobs: Iterable[JobRequest]) -> list[JobRequest]:
    """The jobs of a request, each with the header's deadline unless it has its own.

    Raises:
        InvalidJob: If the header is none.
    """
    deadline_s = _cancel_after_s(request)
    return [
        replace(job, deadline_s=deadline_s) if deadline_s and job.deadline_s is None else job
        for job in jobs
    ]


def _cancel_after_s(request: Request) -> float | None:
    """Seconds; None without the header."""
    text = request.headers.get(CANCEL_AFTER)
    if text is None:
        return None
    parts = DURATION.fullmatch(text.strip())
    hours, minutes, seconds = parts.groups() if parts else (None, None, None)
    duration_s = int(hours or 0) * 3_600 + int(minutes or 0) * 60 + float(seconds or 0)
    if not 0 < duration_s <= MAX_DEADLINE_S:
        msg = "must be a time such as `90`, `90s`, `15m` or `1h30m`, 30 days at most"
        raise InvalidJob(CANCEL_AFTER, msg)
    return duration_s
