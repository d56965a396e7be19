"""Lists of jobs, page by page: what is asked for, and what a page says.

Jobs are listed in the order of their admission, which never changes, so a page begins where the
one before it ended, whatever comes, goes or changes its state between them.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from preble.messages import JobState, JobView

LOOKS_PER_JOB: Final = 10
"""Jobs that are looked at, at most, for each that a page may hold."""

UNFINISHED: Final = "unfinished"


class JobQuery(msgspec.Struct, frozen=True):
    """Which jobs to list.

    Args:
        state: Only those in it; None for all.
        tenant: Only its; None for those of the whole pool.
        after: `JobPage.after` of the page before; None to begin.
        limit: Most jobs of a page, at least 1.
        is_newest_first: Else the oldest come first.
    """

    state: JobState | None = None
    tenant: str | None = None
    after: int | None = None
    limit: int = 20
    is_newest_first: bool = True

    @property
    def group(self) -> str:
        """The shortest list that holds all of them; empty for that of all jobs."""
        return "" if self.state is None else group_of(self.state)

    @property
    def looks(self) -> int:
        """Jobs to look at, at most."""
        return self.limit * LOOKS_PER_JOB


class JobPage(msgspec.Struct, frozen=True):
    """Jobs in the order asked for, without position, assignment and result.

    Fewer than the limit, even none, do not mean that no more follow: only `after` does.
    """

    jobs: tuple[JobView, ...]
    after: int | None
    """To ask for the next page with; None if this is the last."""


def group_of(state: JobState) -> str:
    """The list, beside that of all jobs, in which a job stands; empty for none.

    Most jobs complete, so a list of those would be no shorter than that of all.
    """
    if state is JobState.COMPLETED:
        return ""
    return state.value if state.is_terminal else UNFINISHED


def without_positions(views: Iterable[JobView | None]) -> list[JobView | None]:
    """Jobs whose places in their queues nobody asks for."""
    return [view and msgspec.structs.replace(view, position=None) for view in views]
