"""What `/v1/responses` takes and answers."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from preble_api.openai.fields import (
    Ignored,
    MaxTokens,
    Metadata,
    NotOffered,
    SharedFields,
)
from preble_api.openai.logprobs import AnswerLogprob
from preble_api.openai.messages import Turn
from preble_api.sampling_schemas import TopLogprobs

Text = Annotated[str, Meta(min_length=1)]
Turns = Annotated[list[Turn], Meta(min_length=1, max_length=4096)]

LOGPROBS_INCLUDED: Final = "message.output_text.logprobs"
"""What else than the text can be asked for."""

Include = Annotated[
    list[str],
    Meta(
        max_length=16,
        description=f"`{LOGPROBS_INCLUDED}` for the logprob of each token; nothing else.",
    ),
]


class ResponseStreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Has no effect: nothing is padded."""

    include_obfuscation: Ignored = UNSET


class ResponseRequest(SharedFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A text, or a conversation, to be answered."""

    input: Annotated[Text | Turns, Meta(description="A text, or a conversation.")]
    instructions: Annotated[
        str | None, Meta(description="Stands before the input, as a system message.")
    ] = None
    max_output_tokens: MaxTokens | None = None
    metadata: Metadata | None = None
    background: Annotated[
        bool | None, Meta(description="Answer at once; the response is fetched later.")
    ] = None
    store: Annotated[
        bool | None, Meta(description="Whether it can be fetched later: true, unless you say no.")
    ] = None
    include: Include | None = None
    top_logprobs: TopLogprobs | None = None
    stream_options: Annotated[
        ResponseStreamOptions | None, Meta(description="Of what the events tell.")
    ] = None
    parallel_tool_calls: Ignored = UNSET
    previous_response_id: NotOffered = UNSET
    conversation: NotOffered = UNSET
    prompt: NotOffered = UNSET
    tools: NotOffered = UNSET
    tool_choice: NotOffered = UNSET
    max_tool_calls: NotOffered = UNSET
    text: NotOffered = UNSET
    reasoning: NotOffered = UNSET
    seed: NotOffered = UNSET
    truncation: NotOffered = UNSET
    context_management: NotOffered = UNSET
    background_options: NotOffered = UNSET
    access_programs: NotOffered = UNSET
    image: NotOffered = UNSET


class InputTokensDetails(msgspec.Struct, frozen=True):
    """Of the input: what came from the KV cache; what was computed, and so written to it."""

    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True):
    """Reasoning is not told apart from the answer."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True):
    """Tokens of a response."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


MissReason = Literal["input_changed", "placed_elsewhere", "evicted"]


class CacheDiagnostics(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why tokens of the prompt came from the KV cache or did not.

    `placed_elsewhere` and `evicted` are words of ours, as are the three figures at the end.
    """

    type: Literal["cache_hit", "cache_miss", "unavailable"]
    reason: MissReason | None = None
    cache_missed_tokens: int | None = None
    comparison_reusable_tokens: int | None = None
    available_tokens: Annotated[
        int | None, Meta(description="Of the prompt, on the instance that held most of it.")
    ] = None
    predicted_tokens: Annotated[
        int | None, Meta(description="Of it, on the instance that was chosen.")
    ] = None
    delivered_tokens: Annotated[int | None, Meta(description="As the engine reported.")] = None


class OutputText(msgspec.Struct, frozen=True):
    """The text of an answer."""

    text: str
    annotations: list[str] = []
    logprobs: Annotated[
        list[AnswerLogprob], Meta(description="Of each token of the output, if asked for.")
    ] = []
    type: str = "output_text"


class OutputMessage(msgspec.Struct, frozen=True):
    """The one item of an output."""

    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]
    role: str = "assistant"
    type: str = "message"


class ResponseError(msgspec.Struct, frozen=True):
    """Why a response failed; the job's own code stands before the message."""

    code: Literal["server_error", "invalid_prompt"]
    message: str


class IncompleteDetails(msgspec.Struct, frozen=True):
    """Why a response ended early."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


Status = Literal["queued", "in_progress", "completed", "failed", "cancelled", "incomplete"]


class TextFormat(msgspec.Struct, frozen=True):
    """Plain text."""

    type: str = "text"


class TextConfig(msgspec.Struct, frozen=True):
    """How answers are formed."""

    format: TextFormat = TextFormat()


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """A response as it stands."""

    id: str
    created_at: float
    status: Status
    model: str
    output: list[OutputMessage] = []
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    usage: ResponseUsage | None = None
    prompt_cache_diagnostics: CacheDiagnostics | None = None
    completed_at: float | None = None
    instructions: str | None = None
    metadata: dict[str, str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    top_logprobs: int = 0
    background: bool = False
    store: bool = True
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    previous_response_id: None = None
    parallel_tool_calls: bool = True
    tool_choice: str = "auto"
    tools: list[str] = []
    text: TextConfig = TextConfig()
    truncation: str = "disabled"
    object: str = "response"


class ResponseDeleted(msgspec.Struct, frozen=True):
    """A response that is no more."""

    id: str
    deleted: bool = True
    object: str = "response"


MOST_ECHO_CHARS: Final = 16_384
"""Longer instructions are not repeated: they would stay in Redis as long as the result."""
