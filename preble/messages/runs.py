"""An execution of a job: from the claim to how it ended."""

from enum import StrEnum
from typing import Final, NewType

import msgspec

from preble.messages.jobs import JobId, JobSpec
from preble.messages.packing import Tokens

ExecutionId = NewType("ExecutionId", str)


class Ring(StrEnum):
    """What a worker is called for."""

    ASSIGNED = "assigned"
    """Jobs were assigned to its instance."""
    RECALLED = "recalled"
    """A job that it runs was ended elsewhere."""


QUARANTINE_AFTER: Final = 2
"""Deaths of a job's workers after which it runs alone, so that its next death is its own doing."""


class ClaimedJob(msgspec.Struct, frozen=True):
    """A job that a worker holds under a lease."""

    job_id: JobId
    execution_id: ExecutionId
    attempt: int
    spec: JobSpec
    prompt: Tokens
    waited_s: float = 0.0
    """From its submission, or retry, to the claim, by the queue's clock."""

    @property
    def runs_alone(self) -> bool:
        """Whether its worker may hold nothing beside it."""
        return self.attempt > QUARANTINE_AFTER

    @property
    def lease(self) -> "Lease":
        """The lease this claim holds."""
        return Lease(self.job_id, self.execution_id)


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """The right of one execution to finish one job."""

    job_id: JobId
    execution_id: ExecutionId


class HitPrediction(msgspec.Struct, frozen=True, array_like=True):
    """Hit tokens predicted when a job was started in its engine."""

    resident_tokens: int = 0
    """In the engine's KV cache then."""
    expected_tokens: int = 0
    """Still to be computed by jobs started before."""

    @property
    def hit_tokens(self) -> int:
        """Resident and expected."""
        return self.resident_tokens + self.expected_tokens


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How likely one output token was, as the engine tells it, in nats; always finite."""

    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """Ids and logprobs of the likeliest tokens in its place, likeliest first, as many as asked."""


class JobResult(msgspec.Struct, frozen=True):
    """What a completed job delivered; times are seconds on the worker's clock."""

    text: str
    output_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    ttft_s: float
    engine_s: float
    prediction: HitPrediction = HitPrediction()
    """What `cached_tokens` was predicted to be."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each of `output_ids`, if they were asked for."""

    @property
    def decode_s(self) -> float:
        """From the first token to the last."""
        return max(0.0, self.engine_s - self.ttft_s)


class JobFailure(msgspec.Struct, frozen=True):
    """Why a job ended without a result."""

    code: str
    message: str


class Outcome(msgspec.Struct, frozen=True):
    """The end of one execution: exactly one of `result` and `failure` is set."""

    lease: Lease
    result: JobResult | None = None
    failure: JobFailure | None = None
