"""Jobs as the api shows them. Unknown fields are ignored, for the api may be newer."""

import msgspec

from preble.messages import DEFAULT_TENANT, JobState


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a completed job; `cached_tokens` of the prompt came from the KV cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class HitPrediction(msgspec.Struct, frozen=True):
    """What `cached_tokens` was predicted to be when a worker claimed the job."""

    resident_tokens: int = 0
    """In the engine's KV cache then."""
    expected_tokens: int = 0
    """Being computed then, by other jobs."""

    @property
    def hit_tokens(self) -> int:
        """Resident and expected."""
        return self.resident_tokens + self.expected_tokens


class LikelyToken(msgspec.Struct, frozen=True):
    """One of the likeliest tokens in a place."""

    token_id: int
    logprob: float


class OutputLogprob(msgspec.Struct, frozen=True):
    """How likely a token of an output was, in nats; the likeliest tokens beside it first."""

    token_id: int
    logprob: float
    top: tuple[LikelyToken, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """What a completed job delivered; times in seconds on the worker's clock."""

    text: str
    finish_reason: str
    usage: Usage
    ttft_s: float
    engine_s: float
    output_ids: tuple[int, ...] = ()
    prediction: HitPrediction = HitPrediction()
    logprobs: tuple[OutputLogprob, ...] | None = None
    """Of each of `output_ids`; None if they were not asked for."""


class Placement(msgspec.Struct, frozen=True):
    """Why a job went to its instance."""

    instance: str
    policy: str
    reason: str
    predicted_hit_tokens: int
    available_hit_tokens: int


class Failure(msgspec.Struct, frozen=True):
    """Why a job ended without a result."""

    code: str
    message: str


class WebhookState(msgspec.Struct, frozen=True):
    """How far a job's webhook has come."""

    status: str
    attempts: int = 0
    last_error: str = ""


class Job(msgspec.Struct, frozen=True):
    """A job as the api shows it; times are Unix seconds of the server."""

    id: str
    status: JobState
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    deadline_at: float | None = None
    attempt: int = 0
    prompt_tokens: int = 0
    priority: str = "normal"
    tenant: str = DEFAULT_TENANT
    position: int | None = None
    instance: str | None = None
    assignment: Placement | None = None
    result: Result | None = None
    error: Failure | None = None
    webhook: WebhookState | None = None


class Ended(msgspec.Struct, frozen=True):
    """Of the jobs that were asked for those that have ended, and those that nobody knows."""

    data: list[Job]
    missing: list[str]


class JobPage(msgspec.Struct, frozen=True):
    """A page of the list of jobs, and where the next begins."""

    data: list[Job]
    next: int | None = None
