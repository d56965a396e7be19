"""Batches as clients send and get them: OpenAI's objects, and a few fields of our own."""

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble_api.files.schemas import ExpiresAfter, UnixS
from preble_api.schemas import JobPriority
from preble_api.webhooks.schemas import WebhookRequest

MAX_LINES: Final = 50_000
MAX_PAGE: Final = 100
MAX_ERRORS: Final = 100
"""Errors after which an input file is not looked at any further."""

WINDOW_PATTERN: Final = "^[0-9]{1,6}[smhd]$"
SHORTEST_WINDOW_S: Final = 1
LONGEST_WINDOW_S: Final = 7 * 86_400

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling",
    "cancelled",
]  # fmt: skip
EndpointPath = Literal["/v1/chat/completions", "/v1/completions", "/v1/responses"]
ENDPOINT_PATHS: Final[tuple[str, ...]] = get_args(EndpointPath)
Order = Literal["prefix", "input"]

MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataValue = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[
    dict[MetadataKey, MetadataValue],
    Meta(max_length=16, description="Given back with the batch."),
]


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch to be run."""

    input_file_id: Annotated[str, Meta(description="A file that was uploaded.")]
    endpoint: Annotated[EndpointPath, Meta(description="The `url` of all its lines.")]
    completion_window: Annotated[
        str,
        Meta(
            pattern=WINDOW_PATTERN, examples=["24h"],
            description="What has not ended by then is given up: `24h`, or `90s`, `15m`, `1h`, "
            "`7d` at most.",
        ),
    ]  # fmt: skip
    metadata: Metadata | None = None
    output_expires_after: Annotated[
        ExpiresAfter | None, Meta(description="How long its results are kept; else 30 days.")
    ] = None
    priority: Annotated[JobPriority, Meta(description="Of its jobs.")] = "batch"
    order: Annotated[
        Order,
        Meta(description="`prefix`: lines that begin alike are run together. `input`: as given."),
    ] = "prefix"
    webhook: Annotated[
        WebhookRequest | None, Meta(description="Who is to be told that the batch has ended.")
    ] = None


class RequestCounts(msgspec.Struct, frozen=True):
    """Lines of a batch; those that are neither completed nor failed remain."""

    total: int = 0
    completed: int = 0
    failed: int = 0


class InputTokens(msgspec.Struct, frozen=True):
    """Of the prompts, those that came from the KV cache."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputTokens(msgspec.Struct, frozen=True):
    """Of the outputs, those that nobody sees."""

    reasoning_tokens: int = 0


class BatchUsage(msgspec.Struct, frozen=True):
    """Tokens of the lines that completed."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokens = InputTokens()
    output_tokens_details: OutputTokens = OutputTokens()


class BatchError(msgspec.Struct, frozen=True):
    """What is wrong with a line of the input; or, without a line, with how many lines."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrors(msgspec.Struct, frozen=True):
    """Errors of the input, or the most frequent ones of the error file."""

    data: list[BatchError]
    object: Literal["list"] = "list"


class Batch(msgspec.Struct, frozen=True):
    """A batch as it stands."""

    id: str
    endpoint: str
    input_file_id: str
    completion_window: str
    status: Status
    created_at: UnixS
    expires_at: UnixS
    model: str
    request_counts: RequestCounts
    usage: BatchUsage
    priority: str
    order: Order
    errors: BatchErrors | None = None
    output_file_id: Annotated[
        str | None, Meta(description="Lines that were answered; null without any.")
    ] = None
    error_file_id: Annotated[str | None, Meta(description="The other lines; likewise.")] = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    metadata: dict[str, str] | None = None
    object: Literal["batch"] = "batch"


class BatchList(msgspec.Struct, frozen=True):
    """A page of batches; `last_id` as `after` brings the next."""

    data: list[Batch]
    has_more: bool
    first_id: str | None
    last_id: str | None
    object: Literal["list"] = "list"


class BatchListQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a list, the newest first."""

    after: Annotated[str | UnsetType, Meta(description="`last_id` of the page before.")] = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="Most batches of a page.")] = 20
