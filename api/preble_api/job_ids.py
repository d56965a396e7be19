"""Ids of jobs: when each was made, and chance.

An id that says it was made longer ago than results are kept, and that nobody knows, belongs to a
job that has expired: so much can be said without a record of all jobs there ever were.
"""

import re
import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from preble.clock import unix_s
from preble.messages import JobId

Now = Callable[[], float]
"""Unix seconds. Only days are told apart, so hosts' clocks may differ by minutes."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
UUID_WITH_TIME: Final = 7
UUID_LENGTH: Final = 36
_DATED: Final = re.compile(r"job_([0-9a-f]{10})[0-9a-f]{22}")


def new_job_id(now: Now = unix_s) -> JobId:
    """An id that nobody can guess: 88 bits of chance."""
    return JobId(_dated(int(now()), secrets.token_hex(11)))


def keyed_job_id(key: str, digest: str) -> JobId:
    """An id that follows from the key of a request and a hash.

    It says when it was made if the key does, by beginning with a UUID of version 7.
    """
    made_at_s = _made_at_s(key)
    return JobId(f"job_k{digest[:31]}" if made_at_s is None else _dated(made_at_s, digest))


def _dated(made_at_s: int, chance: str) -> str:
    return f"job_{made_at_s:010x}{chance[:22]}"


def _made_at_s(key: str) -> int | None:
    """Source: RFC 9562, section 5.7."""
    try:
        made = UUID(key[:UUID_LENGTH])
    except ValueError:
        return None
    return (made.int >> 80) // 1000 if made.version == UUID_WITH_TIME else None


def may_be_id(text: str) -> bool:
    """Whether a job can have such an id."""
    return _ID.fullmatch(text) is not None


def has_expired(job_id: JobId, *, kept_s: float, now: Now = unix_s) -> bool:
    """Whether a job of which nobody knows was there once.

    Args:
        job_id: Of which nobody knows.
        kept_s: Seconds for which results are kept.
        now: The time.
    """
    dated = _DATED.fullmatch(job_id)
    return dated is not None and now() - int(dated[1], 16) > kept_s
