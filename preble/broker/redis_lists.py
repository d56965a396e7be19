"""Several jobs at once: LIST's arguments and its reply as a page, and VIEW's replies. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from preble.broker.lists import JobPage, JobQuery, without_positions
from preble.broker.redis_client import Argument
from preble.broker.redis_replies import job_view
from preble.errors import BrokerError
from preble.messages import JobId, JobView

WHOLE_POOL: Final = "*"
"""Scope of the lists of the pool; no tenant is called so."""

_NOT_LISTED: Final = (None, None, None, None, None)
"""What VIEW says beyond LIST: position, decision, return value, webhook, time of assignment."""


def list_arguments(query: JobQuery) -> Sequence[Argument]:
    """As LIST takes them."""
    return (
        query.tenant or WHOLE_POOL, query.group, query.state or "",
        "" if query.after is None else query.after, query.limit, query.looks,
        int(query.is_newest_first),
    )  # fmt: skip


def job_page(reply: Sequence[Any]) -> JobPage:
    """LIST's reply."""
    after, jobs = reply
    return JobPage(tuple(_listed(*job) for job in jobs), int(after) if after else None)


def _listed(job: bytes, *fields: Any) -> JobView:  # noqa: ANN401  # parts of a Lua reply
    return job_view(JobId(job.decode()), (*fields, *_NOT_LISTED))


def job_views(job_ids: Sequence[JobId], replies: Sequence[Any]) -> list[JobView | None]:
    """VIEW's replies, without positions. Raises: BrokerError, if one is one."""
    for reply in replies:
        if isinstance(reply, BrokerError):
            raise reply
    pairs = zip(job_ids, replies, strict=True)
    return without_positions(
        [job_view(job_id, reply) if reply else None for job_id, reply in pairs]
    )
