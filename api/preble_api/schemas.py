"""What clients send and get: the one definition that validates, answers and documents.

msgspec structs, because they stop at the first error, whatever a client sends, and decode
a prompt of 1,000 ids in half the time of a pydantic model. The OpenAPI page is made of them
too (`openapi.py`).
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from preble.config import Priority
from preble.messages import JobState, SamplingParams
from preble_api.webhooks.schemas import WebhookRequest, WebhookState

MAX_JOBS: Final = 1000
"""Jobs in one list."""

MAX_DEADLINE_S: Final = 30 * 86_400.0

_DEFAULTS: Final = SamplingParams()

_PROMPT_FIELDS: Final = ("prompt", "messages", "input_ids")
ONE_PROMPT: Final = "exactly one of `prompt`, `messages` and `input_ids` must be given"
NO_TOP_K: Final = "0 would leave no token; use -1 for all"
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
TopK = Annotated[int, Meta(ge=-1, le=1_000_000, description="-1 for all tokens.")]
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
Role = Annotated[str, Meta(min_length=1, max_length=64, examples=["user"])]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]
StopTexts = Annotated[list[StopText], Meta(max_length=16)]


class TextPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of a message."""

    type: Literal["text"]
    text: str


TextParts = Annotated[list[TextPart], Meta(max_length=1024, description="Joined by newlines.")]


class ChatMessage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One turn of a chat."""

    role: Role
    content: str | TextParts


Messages = Annotated[list[ChatMessage], Meta(min_length=1, max_length=4096)]


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to sample the output, in SGLang's names."""

    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = _DEFAULTS.max_new_tokens
    temperature: Annotated[float, Meta(ge=0, le=10)] = _DEFAULTS.temperature
    top_p: Annotated[float, Meta(gt=0, le=1)] = _DEFAULTS.top_p
    top_k: TopK = _DEFAULTS.top_k
    min_p: Annotated[float, Meta(ge=0, le=1)] = _DEFAULTS.min_p
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] = _DEFAULTS.frequency_penalty
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] = _DEFAULTS.presence_penalty
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] = _DEFAULTS.repetition_penalty
    stop: StopText | StopTexts | None = None
    ignore_eos: bool = _DEFAULTS.ignore_eos

    def __post_init__(self) -> None:
        """Refuse what no bound expresses. Raises: ValueError."""
        if self.top_k == 0:
            raise ValueError(NO_TOP_K)


class RoomSampling(Sampling, frozen=True, forbid_unknown_fields=True):
    """The same of a client that set no limit: fewer tokens, if the prompt leaves no more room."""


class JobRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt to complete: exactly one of `prompt`, `messages` and `input_ids`."""

    prompt: Prompt | None = None
    messages: Messages | None = None
    input_ids: InputIds | None = None
    model: Model | None = None
    sampling_params: Sampling | None = None
    priority: JobPriority = "normal"
    tenant: Tenant | None = None
    deadline_s: DeadlineS | None = None
    cache_salt: CacheSalt | None = None
    stream: KeepTokens = False
    webhook: WebhookRequest | None = None
    idempotency_key: JobKey | None = None

    def __post_init__(self) -> None:
        """Refuse at once, so that a list of a million nothings is never built."""
        if (self.prompt, self.messages, self.input_ids).count(None) != len(_PROMPT_FIELDS) - 1:
            raise ValueError(ONE_PROMPT)


Jobs = Annotated[list[JobRequest], Meta(min_length=1, max_length=MAX_JOBS)]


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

    self: str
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
    """Tokens of a completed job; `cached_tokens` of the prompt came from the KV cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


class HitPrediction(msgspec.Struct, frozen=True):
    """What `cached_tokens` was predicted to be when a worker claimed the job."""

    resident_tokens: Annotated[int, Meta(description="In the engine's KV cache then.")]
    expected_tokens: Annotated[int, Meta(description="Being computed then, by other jobs.")]


class Result(msgspec.Struct, frozen=True):
    """What a completed job delivered."""

    text: str
    output_ids: tuple[int, ...]
    finish_reason: str
    usage: Usage
    prediction: HitPrediction
    ttft_s: float
    engine_s: float


class Placement(msgspec.Struct, frozen=True):
    """Why the job went to its instance."""

    instance: str
    policy: str
    reason: str
    predicted_hit_tokens: int
    available_hit_tokens: int


class Failure(msgspec.Struct, frozen=True):
    """Why a job ended without a result."""

    code: str
    message: str


class JobStatus(msgspec.Struct, frozen=True):
    """A job as it stands; times are Unix seconds."""

    id: str
    status: JobState
    position: Annotated[int, Meta(description="Jobs ahead in the same queue.")] | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    deadline_at: float | None
    attempt: int
    prompt_tokens: int
    priority: Priority
    tenant: str
    instance: str | None
    assignment: Placement | None
    result: Result | None
    error: Failure | None
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

    message: str
    type: str
    param: str | None
    code: str


class Problem(msgspec.Struct, frozen=True):
    """An error, as RFC 9457 and as OpenAI's clients read it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: ErrorDetail
