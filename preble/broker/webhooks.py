"""Webhooks of jobs, and of batches, that have ended, until they are delivered or given up.

    conclude ──▶ pending ──take──▶ leased ──settle──▶ delivered | pending, later | dead
                    ▲                 │                                             │
                    └── lease ends ───┘           retry: pending again ◀────────────┘

A lease is the time at which the webhook is due again, so a process that dies with one gives it back
by itself: each is delivered at least once, or is a dead letter (ADR 0028). What is due of a tenant
beyond its room is put off, without an attempt, so that it stands in nobody's way.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from preble.messages import JobId, JobState, Webhook

MOST_DEAD: Final = 10_000
"""Dead letters that are kept; beyond, the oldest are forgotten."""

LONGEST_OWED_S: Final = 90_000.0
"""A day, and an hour: what was owed for longer is given up, whether it was tried or not."""

SHORTEST_CROWDED_S: Final = 1.0
LONGEST_CROWDED_S: Final = 60.0
MOST_SEEN: Final = 500
"""Webhooks that one TAKE looks at: Redis serves nobody else meanwhile."""

FORGOTTEN: Final = "it was given up, and is not kept any more"

DeadStatus = Literal["failed", "refused"]


class DueWebhook(msgspec.Struct, frozen=True):
    """A webhook that its taker is to deliver; times are of the Redis clock."""

    job_id: JobId
    webhook: Webhook
    tenant: str
    state: JobState
    ended_at_s: float
    """Unix seconds."""
    owed_s: float
    """For how long it is owed: since the end, or since it was retried."""
    attempt: int
    """Number of this one, from 1."""
    lease_ms: int
    """When it is due again, unless it is settled."""


class Room(msgspec.Struct, frozen=True):
    """How much may be taken."""

    webhooks: int
    of_tenant: int
    """Under way at once of one tenant, by this taker."""
    under_way: Mapping[str, int] = {}
    """How many are, by tenant."""


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


def crowded_s(owed_s: float) -> float:
    """Seconds by which what finds no room is put off: half its age, so many come ever more rarely.

    WEBHOOK_TAKE has the same.
    """
    return min(max(owed_s / 2, SHORTEST_CROWDED_S), LONGEST_CROWDED_S)


class Webhooks(Protocol):
    """The webhooks of one pool. Every call may raise BrokerUnavailable."""

    async def owe(self, subject: JobId, webhook: Webhook, state: JobState, *, tenant: str) -> bool:
        """Let the webhook of what is no job be due. False, and nothing changed, if it is owed.

        Args:
            subject: What has ended; stands for a job's id from here on.
            webhook: Where, and of what kind.
            state: How it has ended.
            tenant: Whose it is.
        """
        ...

    async def take(self, room: Room, *, lease_s: float) -> list[DueWebhook]:
        """Lease those that are due, the longest overdue first.

        Those whose tenant has no room are put off by `crowded_s`, unless they are so old that they
        are to be given up.

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
