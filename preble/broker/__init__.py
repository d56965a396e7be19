"""The queue: where jobs live from admission to result, and who may move them.

One protocol, two brokers: `RedisBroker` (production) and `MemoryBroker` (simulations and
tests), held to the same conformance suite. A broker knows messages, never decisions.

    admit ──▶ waiting ──route──▶ assigned ──claim──▶ running ──finish──▶ completed | failed
               ▲   ▲                │                   │                             │
               │   └───── reap ─────┴───────────────────┘   instance gone,            │
               │                                            lease expired             │
               └────────────────────────────── retry ─────────────────────────────────┘

    from any of the three:  cancel ──▶ cancelled,  reap, its deadline has come ──▶ expired

Each arrow is one atomic call that does no harm when it runs twice, so a process may die
before, after or in the middle of any of them, and its client may retry. What is no step of a job's
way is an attribute, with a protocol of its own.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from preble.broker.agreement import Agreement
from preble.broker.answers import Admitted, Retried
from preble.broker.bulletin import Bulletin
from preble.broker.counts import Counts
from preble.broker.custody import Custody
from preble.broker.lists import JobPage, JobQuery
from preble.broker.notes import Notes
from preble.broker.roster import Roster
from preble.broker.streams import Streams
from preble.broker.webhooks import Webhooks
from preble.messages import (
    NO_REPORT,
    Assignment,
    ClaimedJob,
    InstanceId,
    InstanceRecord,
    InstanceReport,
    JobId,
    JobState,
    JobView,
    LeaderToken,
    Lease,
    Outcome,
    Reaped,
    Ring,
    Submission,
    WaitingJob,
)

PEEKED_JOBS: Final = 4_096
"""Most jobs that one `peek` brings, of all queues together, so that nobody is held up."""


class Broker(Protocol):
    """The queue of one pool. Every call may raise BrokerUnavailable, and says so here once."""

    async def close(self) -> None:
        """Release connections."""
        ...

    @property
    def agreement(self) -> Agreement:
        """What all processes of the pool have in common."""
        ...

    @property
    def bulletin(self) -> Bulletin:
        """What instances hold, and what happens to jobs."""
        ...

    @property
    def counts(self) -> Counts:
        """How much there is in the pool."""
        ...

    @property
    def custody(self) -> Custody:
        """Who looks after what."""
        ...

    @property
    def notes(self) -> Notes:
        """What an api keeps with jobs."""
        ...

    @property
    def roster(self) -> Roster:
        """Which instances there are, and which get no more jobs."""
        ...

    @property
    def streams(self) -> Streams:
        """How ends and tokens reach those who follow jobs."""
        ...

    @property
    def webhooks(self) -> Webhooks:
        """Who is told of ends, outside."""
        ...

    # The api's calls.

    async def admit(self, batches: Sequence[Sequence[Submission]]) -> list[Admitted]:
        """Take new jobs. Each batch is taken whole or not at all.

        Returns:
            One entry for each batch: None if accepted, or, where tenants are bound and it has new
            jobs, their Allowance; QueueFull, KeyReused or BrokerUnavailable where refused.
            Admitting the same jobs again changes nothing.

        Changes: jobs become waiting, in order, each at the end of the ingress queue of its
        priority and tenant.
        """
        ...

    async def view(self, job_id: JobId) -> JobView | None:
        """A job as it stands, or None if it is unknown or has expired."""
        ...

    async def views(self, job_ids: Sequence[JobId]) -> list[JobView | None]:
        """Jobs as `view` has them, but without positions. Cost: one round trip."""
        ...

    async def cancel(self, job_ids: Sequence[JobId]) -> list[JobState | None]:
        """End jobs, wherever they stand. One that runs is stopped within a second.

        Returns:
            For each its state now: `CANCELLED`, or how it had ended before; None if it is
            unknown. Cancelling again says the same.

        Cost: O(jobs ahead of it in its queue).
        """
        ...

    async def list_jobs(self, query: JobQuery) -> JobPage:
        """A page of the jobs that are waiting, assigned, running, or ended and not yet expired.

        A job that is there throughout is on exactly one page, if its state is always the one
        asked for.

        Cost: O(limit), however many jobs there are.
        """
        ...

    async def retry(self, job_ids: Sequence[JobId]) -> list[Retried]:
        """Let failed jobs wait again, each at the end of its ingress queue, as if new.

        Attempts and deadline begin anew; place in the lists and time of submission stay.

        Returns:
            For each its state now, which is no failure if it runs again; None if it is unknown;
            PromptDropped or QueueFull if it failed and cannot run. Again: says how it stands.
        """
        ...

    # The scheduler's calls.

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        """Become or stay the leader; None while another holds the lease.

        The token stays the same while the holder renews in time, and is new otherwise. Where
        Redis turns out to have lost writes, that is logged and counted, and nobody leads: what
        was loaded before is not to be relied on.
        """
        ...

    async def resign(self, token: LeaderToken) -> None:
        """Give leadership up, so that a standby need not wait. Harmless if already lost."""
        ...

    async def peek(
        self, window_jobs: int, *, batch_window_jobs: int | None = None
    ) -> list[WaitingJob]:
        """The first jobs of each ingress queue, in order; the queues by name.

        Of very many queues fewer jobs each, so that all together are at most `PEEKED_JOBS`,
        or one of each queue.

        Args:
            window_jobs: Most jobs of each queue.
            batch_window_jobs: Most jobs of each queue of priority `batch`; None for as many.

        Changes: nothing.
        """
        ...

    async def route(
        self, token: LeaderToken, assignments: Sequence[tuple[str, Assignment]]
    ) -> list[bool]:
        """Move waiting jobs to their instances' queues and record the decisions.

        Args:
            token: From `lead`.
            assignments: Each with the ingress queue its job waits in.

        Returns:
            Whether each job moved; not if it is no longer waiting or its instance is gone or
            drained.

        Raises:
            NotLeader: If the token is no longer the leader's; nothing moved.
        """
        ...

    async def reap(self, token: LeaderToken, *, limit: int) -> Reaped:
        """Take back what the dead hold: expired leases, queues of instances that are gone.

        And the queues of those that are drained.

        A job whose lease expired goes back to the front of its ingress queue, or fails
        once its attempts are used up. A job whose deadline has come ends, wherever it stands.

        Raises:
            NotLeader: As `route`.
        """
        ...

    # The worker's calls.

    async def register(self, record: InstanceRecord, *, lease_s: float) -> None:
        """Begin a new life of an instance; leases of its earlier life expire at once.

        Raises:
            InstanceFenced: Never here, but in every later call of the earlier life.
        """
        ...

    async def claim(
        self, record: InstanceRecord, *, number: int, jobs: int, tokens: int, num_held: int,
        lease_s: float,
    ) -> list[ClaimedJob]:  # fmt: skip
        """Lease jobs from the head of the instance's queue.

        The head of the queue is never skipped, unless its deadline has passed: then it ends. A
        job of the quarantine comes only to a worker that holds nothing, and alone.

        Args:
            record: The instance.
            number: Of this claim among those of this life, upwards from 1. The last one again
                returns the same jobs, so a lost reply is safe; an earlier one returns nothing.
            jobs: Most of them.
            tokens: Most of their `JobSpec.total_tokens` together.
            num_held: Jobs that the worker holds, or still stops.
            lease_s: Seconds until the leases expire.

        Raises:
            InstanceFenced: If a newer life has registered.
        """
        ...

    async def listen(self, instance_id: InstanceId, *, timeout_s: float) -> frozenset[Ring]:
        """Wait until the instance's worker is called, or the timeout.

        Returns:
            What for, since the last call: `ASSIGNED` says that a claim may bring something new,
            `RECALLED` that a renewal will name a lost lease. Once for each, not again.
        """
        ...

    async def renew(
        self, record: InstanceRecord, leases: Sequence[Lease], *, lease_s: float,
        report: InstanceReport = NO_REPORT,
    ) -> list[Lease]:  # fmt: skip
        """Renew the instance's own lease and those of its jobs, and tell how it goes.

        Returns:
            Leases that are lost: stop those jobs, their results would be refused.

        Raises:
            InstanceFenced: If a newer life has registered.
        """
        ...

    async def finish(self, record: InstanceRecord, outcomes: Sequence[Outcome]) -> list[bool]:
        """Record how executions ended.

        Returns:
            Whether each was accepted: exactly one execution of a job ever is. Finishing
            the same execution again says True again and changes nothing.
        """
        ...

    async def release(
        self, record: InstanceRecord, leases: Sequence[Lease], *, is_attempt: bool
    ) -> None:
        """Hand running jobs back, to run elsewhere; the next `reap` makes them waiting.

        Args:
            record: The instance that holds the leases.
            leases: Leases to give up; those already lost are skipped.
            is_attempt: Whether the run counts towards the bound on attempts: not when the
                worker drains.
        """
        ...

    async def retire(self, record: InstanceRecord) -> None:
        """Leave the pool; the next `reap` hands the instance's queue back."""
        ...
