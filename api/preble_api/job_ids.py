"""Ids of jobs: when each was made, and chance.

An id that says it was made longer ago than results are kept, and that nobody knows, belongs to a
job that has expired: so much can be said without a record of all jobs there ever were.
"""

import re
import secrets
from collections.abc import Callable
from typing import Final

from preble.clock import unix_s
from preble.messages import JobId

Now = Callable[[], float]
"""Unix seconds. Only days are told apart, so hosts' clocks may differ by minutes."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DATED: Final = re.compile(r"job_([0-9a-f]{10})[0-9a-f]{22}")


def new_job_id(now: Now = unix_s) -> JobId:
    """An id that nobody can guess: 88 bits of chance."""
    return JobId(f"job_{int(now()):010x}{secrets.token_hex(11)}")


def keyed_job_id(digest: str) -> JobId:
    """An id that follows from a hash, and says nothing of time."""
    return JobId(f"job_k{digest[:31]}")


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
