"""Ids of jobs: whose pool each is of, when it was made, and chance.

    job_ 1f2e3d4c 006b04469c e17009aa76733ed57391ce
         its pool seconds    chance, or of a key
    job_ 1f2e3d4c k          f2b7c11ae1ccfe0a1ab8d0bd30b3173
         its pool            of a key that tells no time

RQ names its keys of a job by the job's id alone. The pool in it is what lets an account of Redis be
kept to the jobs of one pool (ADR 0039); a pool's api knows no jobs of another.

An id that says it was made longer ago than results are kept, and that nobody knows, belongs to a
job that has expired: so much can be said without a record of all jobs there ever were.
"""

import re
import secrets
from collections.abc import Callable
from typing import Final
from uuid import UUID

from preble.broker.keys import JOB_PREFIX_LENGTH, job_prefix
from preble.clock import unix_s
from preble.messages import JobId

Now = Callable[[], float]
"""Unix seconds. Only days are told apart, so hosts' clocks may differ by minutes."""

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_REST: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")
UUID_WITH_TIME: Final = 7
UUID_LENGTH: Final = 36
_DATED: Final = re.compile(r"([0-9a-f]{10})[0-9a-f]{22}")


class JobIds:
    """The ids of one pool's jobs.

    Args:
        pool: Its name.
    """

    def __init__(self, pool: str) -> None:
        self._prefix = job_prefix(pool)

    def new(self, now: Now = unix_s) -> JobId:
        """An id that nobody can guess: 88 bits of chance."""
        return self._dated(int(now()), secrets.token_hex(11))

    def keyed(self, key: str, digest: str) -> JobId:
        """An id that follows from the key of a request and a hash.

        It says when it was made if the key does, by beginning with a UUID of version 7.
        """
        made_at_s = _made_at_s(key)
        if made_at_s is None:
            return JobId(f"{self._prefix}k{digest[:31]}")
        return self._dated(made_at_s, digest)

    def may_be(self, text: str) -> bool:
        """Whether a job of the pool can have such an id."""
        rest = text[JOB_PREFIX_LENGTH:]
        return text.startswith(self._prefix) and _REST.fullmatch(rest) is not None

    def _dated(self, made_at_s: int, chance: str) -> JobId:
        return JobId(f"{self._prefix}{made_at_s:010x}{chance[:22]}")


def _made_at_s(key: str) -> int | None:
    """Source: RFC 9562, section 5.7."""
    try:
        made = UUID(key[:UUID_LENGTH])
    except ValueError:
        return None
    return (made.int >> 80) // 1000 if made.version == UUID_WITH_TIME else None


def is_id(text: str) -> bool:
    """Whether it looks like an id, if not like one of this pool's."""
    return _ID.fullmatch(text) is not None


def has_expired(job_id: JobId, *, kept_s: float, now: Now = unix_s) -> bool:
    """Whether a job of which nobody knows was there once.

    Args:
        job_id: Of which nobody knows.
        kept_s: Seconds for which results are kept.
        now: The time.
    """
    dated = _DATED.fullmatch(job_id[JOB_PREFIX_LENGTH:])
    return dated is not None and now() - int(dated[1], 16) > kept_s
