"""Lists of jobs, as clients ask for them and get them."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble.messages import JobState
from preble_api.schemas import JobStatus, TenantName

MAX_LISTED: Final = 100
"""Jobs in one page of a list."""

MAX_ASKED: Final = 200
"""Jobs that are asked for at once: their ids fit into a URL that every proxy takes."""

Place = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""Where a page ended."""


class JobListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a list. They have no `null`, which would begin a list from its start."""

    status: Annotated[JobState | UnsetType, Meta(description="Only jobs that stand so.")] = UNSET
    tenant: Annotated[TenantName | UnsetType, Meta(description="Only its; else those of all.")] = (
        UNSET
    )
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED, description="Most jobs of a page.")] = 20
    after: Annotated[Place | UnsetType, Meta(description="`next` of the page before.")] = UNSET
    order: Annotated[
        Literal["desc", "asc"], Meta(description="The newest submission first, or the oldest.")
    ] = "desc"


class JobList(msgspec.Struct, frozen=True):
    """A page of jobs, without position, assignment and result.

    It may be short, or empty, while more follow.
    """

    data: list[JobStatus]
    has_more: bool
    next: Annotated[int, Meta(description="To ask for the next page, as `after`.")] | None
    object: Literal["list"] = "list"


class EndedQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a question for many jobs."""

    ids: Annotated[
        str, Meta(description=f"Ids of jobs, {MAX_ASKED} at most, with commas between them.")
    ]


class EndedJobs(msgspec.Struct, frozen=True):
    """Of the jobs that were asked for those that have ended."""

    data: list[JobStatus]
    missing: Annotated[list[str], Meta(description="Unknown, or their results have expired.")]
    object: Literal["list"] = "list"
