"""Streams: how ends and tokens of jobs reach the api processes that follow them.

    worker ─ publish ─▶ inbox of an api process ─ listen ─▶ api       gone with its reader
           └──────────▶ log of a job ──────────── read_log ▶ any api  kept with its result
    whatever ends a job ─▶ inbox

Nothing here is relied on: who hears nothing asks for the job, whose result is whole.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

from preble.messages import JobId, TokenDelta

INBOX_ENTRIES: Final = 4_096
"""About as many an inbox holds; who is further behind misses some."""

INBOX_TTL_S: Final = 60
"""An inbox is forgotten so long after its reader's last sign of life."""

MOST_LOG_BYTES: Final = 4 * 1024 * 1024
"""Of one job's log; what does not fit is found in its result."""


class InboxNews(msgspec.Struct, frozen=True):
    """What came into an inbox."""

    deltas: tuple[TokenDelta, ...] = ()
    ended: tuple[JobId, ...] = ()


class LogPage(msgspec.Struct, frozen=True):
    """A part of a job's log, and the place after it."""

    deltas: tuple[TokenDelta, ...]
    cursor: str


LOG_START: Final = "0-0"
"""The place before all of a log."""


class Streams(Protocol):
    """The streams of one pool. Every call may raise BrokerUnavailable, and says so here once."""

    async def listen(self, inbox: str, *, timeout_s: float) -> InboxNews:
        """Wait until something comes into an inbox, or the timeout. One reader each.

        Returns:
            What came since the last call; after BrokerUnavailable perhaps some of it once more.

        Changes: the inbox is there, and stays for `INBOX_TTL_S`.
        """
        ...

    async def publish(
        self, by_inbox: Mapping[str, Sequence[TokenDelta]], logged: Sequence[TokenDelta]
    ) -> None:
        """Tell what executions have made. Again: it is told again.

        Args:
            by_inbox: To be heard by the readers of inboxes; of one that is not there, by nobody.
            logged: For the logs of their jobs, as far as those still run under that execution.
        """
        ...

    async def read_log(self, job_id: JobId, after: str) -> LogPage:
        """What a job's log holds after a place; `LOG_START` for all of it. Changes: nothing."""
        ...
