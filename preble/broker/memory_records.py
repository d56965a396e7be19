"""What the memory broker keeps of a job and of an instance."""

from collections import deque
from dataclasses import dataclass, field

from msgspec.structs import replace

from preble.broker.webhooks import FORGOTTEN
from preble.messages import (
    QUARANTINE_AFTER,
    Assignment,
    BlockKeys,
    ClaimedJob,
    EventBatch,
    ExecutionId,
    InstanceId,
    InstanceRecord,
    InstanceReport,
    JobFailure,
    JobId,
    JobResult,
    JobSpec,
    JobState,
    JobView,
    Snapshot,
    TokenDelta,
    Tokens,
    Webhook,
    WebhookStatus,
    WebhookView,
)


@dataclass(slots=True)
class OwedWebhook:
    """A webhook whose job has ended; times in ms are None, or 0, while they mean nothing."""

    tenant: str
    state: JobState
    ended_at_s: float
    since_s: float
    """Since when it is owed; again, where it was retried."""
    due_ms: int | None
    status: WebhookStatus = "pending"
    attempts: int = 0
    error: str = ""
    given_up_ms: int = 0


@dataclass(slots=True)
class Job:
    """A job from its admission on; what it no longer needs after its end is emptied."""

    spec: JobSpec
    prompt: Tokens
    block_keys: BlockKeys
    submitted_at_s: float
    order: int
    num_sent_bytes: int
    """What was sent with it."""
    fingerprint: str = ""
    state: JobState = JobState.WAITING
    attempt: int = 0
    instance_id: InstanceId | None = None
    execution_id: ExecutionId | None = None
    assigned_at_s: float | None = None
    started_at_s: float | None = None
    ended_at_s: float | None = None
    assignment: Assignment | None = None
    result: JobResult | None = None
    failure: JobFailure | None = None
    retried_at_s: float | None = None
    note: bytes | None = None
    webhook: Webhook | None = None
    owed: OwedWebhook | None = None
    log: list[TokenDelta] = field(default_factory=list[TokenDelta])

    @property
    def is_quarantined(self) -> bool:
        """Of a job that does not run: whether it may only run alone."""
        return self.attempt >= QUARANTINE_AFTER

    @property
    def deadline_at_s(self) -> float | None:
        """By when it must have ended; None for never."""
        wanted_s = self.spec.deadline_s
        return None if wanted_s is None else self.waits_since_s + wanted_s

    @property
    def waits_since_s(self) -> float:
        """When it was submitted, or asked to run again."""
        return self.submitted_at_s if self.retried_at_s is None else self.retried_at_s

    def drop_prompt(self) -> None:
        """It will not run again."""
        self.prompt, self.block_keys = Tokens(b""), BlockKeys(b"")

    def begin_anew(self, now_s: float) -> None:
        """It failed and waits again, as if new."""
        self.state, self.attempt, self.retried_at_s = JobState.WAITING, 0, now_s
        self.instance_id = self.execution_id = self.started_at_s = self.ended_at_s = None
        self.assignment = self.failure = self.owed = None
        self.log = []

    def view(self, job_id: JobId, position: int | None) -> JobView:
        """The job as a client may see it."""
        return replace(
            self.summary(job_id),
            position=position, assignment=self.assignment, result=self.result,
            assigned_at_s=self.assigned_at_s if self.assignment else None, webhook=self._webhook(),
        )  # fmt: skip

    def _webhook(self) -> WebhookView | None:
        if self.webhook is None:
            return None
        if self.owed is not None:
            return WebhookView(self.owed.status, self.owed.attempts, self.owed.error)
        ended = self.state.is_terminal
        return WebhookView("failed", last_error=FORGOTTEN) if ended else WebhookView()

    def summary(self, job_id: JobId) -> JobView:
        """The job as lists show it."""
        return JobView(
            job_id=job_id, state=self.state, spec=self.spec, attempt=self.attempt,
            submitted_at_s=self.submitted_at_s, deadline_at_s=self.deadline_at_s,
            instance_id=self.instance_id, started_at_s=self.started_at_s,
            ended_at_s=self.ended_at_s, failure=self.failure,
        )  # fmt: skip


@dataclass(slots=True)
class Instance:
    """One life of an instance, and the queue that it inherits."""

    record: InstanceRecord
    expires_at_s: float
    queue: deque[JobId] = field(default_factory=deque[JobId])
    claim: int = 0
    claimed: list[ClaimedJob] = field(default_factory=list[ClaimedJob])
    batches: list[EventBatch] = field(default_factory=list[EventBatch])
    snapshot: tuple[Snapshot, int] | None = None
    has_retired: bool = False
    renewed_at_s: float | None = None
    report: InstanceReport | None = None
