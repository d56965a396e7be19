"""Webhooks of jobs, and of batches, that have ended, until they are delivered or given up.

    conclude ──▶ pending ──take──▶ leased ──settle──▶ delivered | pending, later | dead
                    ▲                 │                                             │
                    └── lease ends ───┘           retry: pending again ◀────────────┘

A lease is the time at which the webhook is due again, so a process that dies with one gives it back
by itself: each is delivered at least once, or is a dead letter (ADR 0028).
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from preble.messages import JobId, JobState, Webhook

MOST_DEAD: Final = 10_000
"""Dead letters that are kept; beyond, the oldest are forgotten."""

FORGOTTEN: Final = "it was given up, and is not kept any more"

DeadStatus = Literal["failed", "refused"]


class DueWebhook(msgspec.Struct, frozen=True):
    """A webhook that its taker is to deliver; `ended_at_s`: Unix seconds of the Redis clock."""

    job_id: JobId
    webhook: Webhook
    state: JobState
    ended_at_s: float
    attempt: int
    """Number of this one, from 1."""
    lease_ms: int
    """When it is due again, unless it is settled."""


class Verdict(msgspec.Struct, frozen=True):
    """How one attempt ended."""

    status: Literal["pending", "delivered", "failed", "refused"]
    error: str = ""
    delay_s: float = 0.0
    """Until a pending one is due."""
    is_attempt: bool = True
    """Whether it was tried at all."""


class DeadWebhook(msgspec.Struct, frozen=True):
    """A webhook that was given up; times are Unix seconds of the Redis clock."""

    job_id: JobId
    webhook: Webhook
    state: JobState
    ended_at_s: float
    status: DeadStatus
    attempts: int
    last_error: str
    given_up_at_s: float


class Webhooks(Protocol):
    """The webhooks of one pool. Every call may raise BrokerUnavailable."""

    async def owe(self, subject: JobId, webhook: Webhook, state: JobState) -> bool:
        """Let the webhook of what is no job be due. False, and nothing changed, if it is owed.

        Args:
            subject: What has ended; stands for a job's id from here on.
            webhook: Where, and of what kind.
            state: How it has ended.
        """
        ...

    async def take(self, most: int, *, lease_s: float) -> list[DueWebhook]:
        """Lease those that are due, the longest overdue first.

        Changes: their attempts, which a crash must count, too.
        """
        ...

    async def settle(self, due: DueWebhook, verdict: Verdict) -> bool:
        """Say how an attempt ended. False, and nothing changed, if the lease is over."""
        ...

    async def dead(self, limit: int) -> list[DeadWebhook]:
        """Dead letters, the newest first."""
        ...

    async def retry(self, job_ids: Sequence[JobId]) -> list[bool]:
        """Let dead letters be due at once, attempts begun anew. Whether each was one."""
        ...
