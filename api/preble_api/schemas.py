"""What clients send and get: the one definition that validates, answers and documents.

msgspec structs, because they stop at the first error, whatever a client sends, and decode
a prompt of 1,000 ids in half the time of a pydantic model. The OpenAPI page is made of them
too (`openapi.py`).
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble.config import Priority
from preble.messages import JobState
from preble_api.sampling_schemas import Sampling
from preble_api.webhooks.schemas import WebhookRequest, WebhookState

MAX_JOBS: Final = 1000
"""Jobs in one list."""

MAX_DEADLINE_S: Final = 30 * 86_400.0

_PROMPT_FIELDS: Final = ("prompt", "messages", "input_ids")
ONE_PROMPT: Final = "exactly one of `prompt`, `messages` and `input_ids` must be given"
NO_PRIORITY: Final = "must be `high`, `normal` or `batch`"
NO_TENANT: Final = "must be 1 to 64 letters, digits, `_` and `-`"
NO_CACHE_SALT: Final = "must be 1 to 128 printable ASCII characters without spaces"
NO_KEY: Final = "must be 1 to 255 printable ASCII characters without spaces"
NO_STATUS: Final = (
    f"must be {', '.join(f'`{state}`' for state in list(JobState)[:-1])} or `expired`"
)
NO_ORDER: Final = "must be `asc` or `desc`"
JOBS_ALONE: Final = "`jobs` goes alone; give each job its own fields"

Prompt = Annotated[str, Meta(min_length=1, description="Text to complete, taken as it is.")]
InputIds = Annotated[list[int], Meta(min_length=1, description="Token ids of the pool's model.")]
Model = Annotated[str, Meta(description="The pool's model; another is refused.")]
JobPriority = Annotated[
    Priority, Meta(description="`batch` waits for what the others leave, in the best order.")
]
TenantName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)"),  # a `$` alone lets a last newline pass, in Python
]
Tenant = Annotated[
    TenantName,
    Meta(
        description="On whose behalf, if not the api key's own or `default`; tenants of one "
        "priority share alike."
    ),
]
CacheSalt = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,128}$(?!\n)",
        description="Shares KV cache only with jobs of the same; tenants with keys never share.",
    ),
]
DeadlineS = Annotated[
    float,
    Meta(
        gt=0, le=MAX_DEADLINE_S,
        description="Seconds from its submission; what has not ended by then is stopped.",
    ),
]  # fmt: skip
JobKey = Annotated[
    str,
    Meta(
        pattern=r"^[!-~]{1,255}$(?!\n)",
        description="The same job under the same key again is found, and not made twice; of a list "
        "each job may have its own.",
    ),
]
KeepTokens = Annotated[
    bool, Meta(description="Keep the tokens as they are made, to be followed at `/events`.")
]
Webhook = Annotated[WebhookRequest | None, Meta(description="Whom to tell when the job has ended.")]
Role = Annotated[
    str,
    Meta(
        min_length=1, max_length=64, examples=["user"],
        description="As the model's template knows it: `system`, `user`, `assistant`.",
    ),
]  # fmt: skip


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a message."""

    type: Literal["text"]
    text: str


TextParts = Annotated[list[TextPart], Meta(max_length=1024, description="Joined by newlines.")]


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a chat."""

    role: Role
    content: str | TextParts


Messages = Annotated[
    list[ChatMessage],
    Meta(min_length=1, max_length=4096, description="A chat, put in the model's own form."),
]


class JobRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt to complete: exactly one of `prompt`, `messages` and `input_ids`."""

    prompt: Prompt | None = None
    messages: Messages | None = None
    input_ids: InputIds | None = None
    model: Model | None = None
    sampling_params: Annotated[
        Sampling | None, Meta(description="How to sample; else as the fields' defaults say.")
    ] = None
    priority: JobPriority = "normal"
    tenant: Tenant | None = None
    deadline_s: DeadlineS | None = None
    cache_salt: CacheSalt | None = None
    stream: KeepTokens = False
    webhook: Webhook = None
    idempotency_key: JobKey | None = None

    def __post_init__(self) -> None:
        """Refuse at once, so that a list of a million nothings is never built."""
        if (self.prompt, self.messages, self.input_ids).count(None) != len(_PROMPT_FIELDS) - 1:
            raise ValueError(ONE_PROMPT)


Jobs = Annotated[
    list[JobRequest], Meta(min_length=1, max_length=MAX_JOBS, description="All taken, or none.")
]


class JobListRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many jobs at once, taken whole or not at all; a bare list of jobs is taken as well."""

    jobs: Jobs


class Envelope(JobRequest, frozen=True, forbid_unknown_fields=True):
    """Either form of an object: one job's fields, or `jobs`. Not documented: see the two."""

    jobs: Jobs | None = None

    def __post_init__(self) -> None:
        """Refuse a mixture."""
        if self.jobs is None:
            super().__post_init__()
        elif msgspec.structs.asdict(self) != {**_NO_FIELDS, "jobs": self.jobs}:
            raise ValueError(JOBS_ALONE)


_NO_FIELDS: Final = {field.name: field.default for field in msgspec.structs.fields(JobRequest)}

Body = Envelope | Jobs


class Links(msgspec.Struct, frozen=True):
    """Where to go next."""

    self: Annotated[str, Meta(description="The job.")]
    cancel: Annotated[str, Meta(description="To be POSTed to.")]
    events: Annotated[str, Meta(description="To follow it: server-sent events.")]
    explain: Annotated[str, Meta(description="Why it went where it went.")]


class JobAccepted(msgspec.Struct, frozen=True):
    """A job that was written to the queue."""

    id: str
    urls: Links
    object: Literal["job"] = "job"
    status: Literal["waiting"] = "waiting"


class JobListAccepted(msgspec.Struct, frozen=True):
    """The jobs of a list, in its order."""

    data: list[JobAccepted]
    object: Literal["list"] = "list"


class Usage(msgspec.Struct, frozen=True):
    """Tokens of a completed job."""

    prompt_tokens: int
    completion_tokens: Annotated[int, Meta(description="Of the output.")]
    cached_tokens: Annotated[int, Meta(description="Of the prompt, from the KV cache.")]


class HitPrediction(msgspec.Struct, frozen=True):
    """What `cached_tokens` was predicted to be when a worker claimed the job."""

    resident_tokens: Annotated[int, Meta(description="In the engine's KV cache then.")]
    expected_tokens: Annotated[int, Meta(description="Being computed then, by other jobs.")]


class LikelyToken(msgspec.Struct, frozen=True):
    """One of the likeliest tokens in a place."""

    token_id: int
    logprob: float


class OutputLogprob(msgspec.Struct, frozen=True):
    """How likely a token of the output was."""

    token_id: int
    logprob: Annotated[float, Meta(description="Natural logarithm of its chance.")]
    top: Annotated[tuple[LikelyToken, ...], Meta(description="As many as asked, likeliest first.")]


class Result(msgspec.Struct, frozen=True):
    """What a completed job delivered."""

    text: str
    output_ids: Annotated[tuple[int, ...], Meta(description="Token ids of the output.")]
    finish_reason: Annotated[str, Meta(description="`stop`, or `length`: its longest output.")]
    usage: Usage
    prediction: HitPrediction
    ttft_s: Annotated[float, Meta(description="Seconds in the engine until the first token.")]
    engine_s: Annotated[float, Meta(description="Seconds in the engine, in all.")]
    logprobs: Annotated[
        list[OutputLogprob] | UnsetType, Meta(description="Of each token of the output, if asked.")
    ] = UNSET


class Placement(msgspec.Struct, frozen=True):
    """Why the job went to its instance."""

    instance: str
    policy: str
    reason: Annotated[str, Meta(description="The policy's word for its choice.")]
    predicted_hit_tokens: Annotated[int, Meta(description="On this instance, as it was placed.")]
    available_hit_tokens: Annotated[int, Meta(description="On the instance that held the most.")]


class Failure(msgspec.Struct, frozen=True):
    """Why a job ended without a result."""

    code: Annotated[str, Meta(description="For programs: see the codes of jobs.")]
    message: Annotated[str, Meta(description="For people.")]


class JobStatus(msgspec.Struct, frozen=True):
    """A job as it stands; times are Unix seconds."""

    id: str
    status: JobState
    position: Annotated[int, Meta(description="Jobs ahead in the same queue.")] | None
    created_at: float
    started_at: Annotated[float | None, Meta(description="When a worker claimed it.")]
    ended_at: float | None
    deadline_at: float | None
    attempt: Annotated[int, Meta(description="Executions so far that began.")]
    prompt_tokens: int
    priority: Priority
    tenant: str
    instance: str | None
    assignment: Annotated[Placement | None, Meta(description="The decision; null in lists.")]
    result: Annotated[Result | None, Meta(description="Once it completed; null in lists.")]
    error: Annotated[Failure | None, Meta(description="If it failed, or was stopped.")]
    urls: Links
    webhook: Annotated[
        WebhookState | None, Meta(description="Null if it has none, and in lists.")
    ] = None
    object: Literal["job"] = "job"


class Health(msgspec.Struct, frozen=True):
    """Whether this api serves; instances are None where nobody asked the queue."""

    status: Literal["ok"] = "ok"
    instances: int | None = None


class ErrorDetail(msgspec.Struct, frozen=True):
    """The error in OpenAI's form."""

    message: Annotated[str, Meta(description="What was wrong, where, and what would be right.")]
    type: Annotated[str, Meta(description="OpenAI's word for errors of this kind.")]
    param: Annotated[str | None, Meta(description="The field, parameter or header that is wrong.")]
    code: Annotated[str, Meta(description="For programs: one of the codes.")]


class Problem(msgspec.Struct, frozen=True):
    """An error, as RFC 9457 and as OpenAI's clients read it."""

    type: Annotated[str, Meta(description="`urn:preble:error:` and the code.")]
    title: Annotated[str, Meta(description="The status in words.")]
    status: int
    detail: Annotated[str, Meta(description="As `error.message`.")]
    instance: Annotated[str, Meta(description="`urn:preble:request:` and the request's id.")]
    error: ErrorDetail
