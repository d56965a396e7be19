"""Words that both brokers say: how jobs end without a worker, and what callers are refused with."""

from typing import Final

from preble.broker.bounds import Allowance
from preble.errors import BrokerError, KeyReused, PromptDropped, QueueFull
from preble.messages import JobFailure, JobState

Refusal = QueueFull | KeyReused | BrokerError
"""Why a batch was not admitted."""

Admitted = Refusal | Allowance | None
"""What became of a batch: None and Allowance if it was admitted."""

Retried = JobState | PromptDropped | QueueFull | None
"""What became of a job that was to run again."""

ATTEMPTS_USED_UP: Final = JobFailure(
    "attempts_used_up", "the job's worker died or lost its lease each time it was tried"
)
"""How a job ends that no worker survived long enough to finish."""

CANCELLED: Final = JobFailure("cancelled", "the job was cancelled")
"""How a job ends that nobody wants any more."""

DEADLINE_PASSED: Final = JobFailure("deadline_passed", "the job had not ended by its deadline")
"""How a job ends that came too late, or took too long."""

KEY_REUSED: Final = "this Idempotency-Key was used before, for another request"

PROMPT_DROPPED: Final = "the job failed, and its prompt is no longer kept: submit it again"

NOT_LEADER: Final = "another scheduler leads this pool"


def fenced(instance_id: str) -> str:
    """What a worker is told whose instance lives another life, or none."""
    return f"instance {instance_id} was taken over, or its lease ran out"
