"""Webhooks in memory; see `webhooks.py`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final, cast

from preble.broker.memory_records import OwedWebhook
from preble.broker.memory_state import MemoryState
from preble.broker.webhooks import (
    LONGEST_OWED_S,
    MOST_DEAD,
    MOST_SEEN,
    DeadStatus,
    DeadWebhook,
    DueWebhook,
    Room,
    Verdict,
    crowded_s,
)
from preble.messages import JobId, JobState, Webhook

_DEAD: Final = frozenset({"failed", "refused"})


class MemoryWebhooks:
    """The webhooks of a pool. Implements `Webhooks`. Cost: O(jobs) of each call."""

    def __init__(self, state: MemoryState) -> None:
        self._jobs = state.jobs
        self._others = state.jobless_webhooks
        self._clock = state.clock

    async def owe(self, subject: JobId, webhook: Webhook, state: JobState, *, tenant: str) -> bool:
        """Let the webhook of what is no job be due."""
        if subject in self._others:
            return False
        now_s = self._clock.now_s()
        self._others[subject] = webhook, OwedWebhook(tenant, state, now_s, now_s, self._now_ms())
        return True

    async def take(self, room: Room, *, lease_s: float) -> list[DueWebhook]:
        """Lease those that are due, the longest overdue first."""
        under_way = Counter(room.under_way)
        taken = list[DueWebhook]()
        for job_id, webhook, owed in self._due():
            owed_s = self._clock.now_s() - owed.since_s
            if len(taken) == room.webhooks:
                break
            if under_way[owed.tenant] >= room.of_tenant and owed_s <= LONGEST_OWED_S:
                owed.due_ms = self._now_ms() + int(crowded_s(owed_s) * 1_000)
                continue
            under_way[owed.tenant] += 1
            owed.due_ms = self._now_ms() + int(lease_s * 1_000)
            owed.attempts += 1
            taken.append(_taken(job_id, webhook, owed, owed_s))
        return taken

    async def settle(self, due: DueWebhook, verdict: Verdict) -> bool:
        """Say how an attempt ended."""
        owed = next((owed for job_id, _, owed in self._owed() if job_id == due.job_id), None)
        if owed is None or owed.due_ms != due.lease_ms:
            return False
        owed.due_ms = None
        if not verdict.is_attempt:
            owed.attempts -= 1
        if verdict.is_attempt or verdict.status != "pending":
            owed.status, owed.error = verdict.status, verdict.error
        if verdict.status == "pending":
            owed.due_ms = self._now_ms() + int(verdict.delay_s * 1_000)
        elif verdict.status == "delivered":
            self._others.pop(due.job_id, None)
        else:
            owed.given_up_ms = self._now_ms()
            self._forget_oldest()
        return True

    async def dead(self, limit: int) -> list[DeadWebhook]:
        """Dead letters, the newest first."""
        letters = [_letter(job_id, hook, owed) for job_id, hook, owed in self._dead()]
        return sorted(letters, key=lambda letter: -letter.given_up_at_s)[:limit]

    async def retry(self, job_ids: Sequence[JobId]) -> list[bool]:
        """Let dead letters be due at once."""
        dead = {job_id: owed for job_id, _, owed in self._dead()}
        for owed in (dead[job_id] for job_id in job_ids if job_id in dead):
            owed.status, owed.attempts, owed.due_ms = "pending", 0, self._now_ms()
            owed.since_s = self._clock.now_s()
        return [job_id in dead for job_id in job_ids]

    def _owed(self) -> Iterator[tuple[JobId, Webhook, OwedWebhook]]:
        for job_id, job in self._jobs.items():
            if job.owed is not None and job.webhook is not None:
                yield job_id, job.webhook, job.owed
        for subject, (webhook, owed) in self._others.items():
            yield subject, webhook, owed

    def _due(self) -> list[tuple[JobId, Webhook, OwedWebhook]]:
        """The first of those that are due."""
        now_ms = self._now_ms()
        due = [
            ((owed.due_ms, job_id), (job_id, webhook, owed))
            for job_id, webhook, owed in self._owed()
            if owed.due_ms is not None and owed.due_ms <= now_ms
        ]
        return [each for _, each in sorted(due, key=itemgetter(0))[:MOST_SEEN]]

    def _dead(self) -> list[tuple[JobId, Webhook, OwedWebhook]]:
        return [each for each in self._owed() if each[2].status in _DEAD]

    def _forget_oldest(self) -> None:
        dead = sorted((owed.given_up_ms, job_id) for job_id, _, owed in self._dead())
        for job_id in map(itemgetter(1), dead[:-MOST_DEAD]):
            if self._others.pop(job_id, None) is None:
                self._jobs[job_id].owed = None

    def _now_ms(self) -> int:
        return int(self._clock.now_s() * 1_000)


def _taken(job_id: JobId, webhook: Webhook, owed: OwedWebhook, owed_s: float) -> DueWebhook:
    return DueWebhook(
        job_id, webhook, owed.tenant, owed.state, owed.ended_at_s, owed_s, owed.attempts,
        owed.due_ms or 0,
    )  # fmt: skip


def _letter(job_id: JobId, webhook: Webhook, owed: OwedWebhook) -> DeadWebhook:
    return DeadWebhook(
        job_id, webhook, owed.state, owed.ended_at_s, cast("DeadStatus", owed.status),
        owed.attempts, owed.error, owed.given_up_ms / 1_000,
    )  # fmt: skip
