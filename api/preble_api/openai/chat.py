"""`POST /v1/chat/completions`: its body, its answer, the chunks of its stream."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta

from preble.errors import InvalidJob
from preble.messages import JobView
from preble.tokenizer import TokenTexts
from preble_api.logprobs import FIELD as LOGPROBS
from preble_api.logprobs import tells_logprobs
from preble_api.openai.asked import Asked, Echo
from preble_api.openai.chunks import Chunks
from preble_api.openai.fields import (
    Ignored,
    MaxTokens,
    Metadata,
    NotOffered,
    SharedFields,
    StreamOptions,
    queued,
    require_offered,
    sampling_of,
)
from preble_api.openai.logprobs import ChatLogprobs, chat_logprobs
from preble_api.openai.messages import Turn, chat_of
from preble_api.openai.parsing import parse_body
from preble_api.openai.results import CompletionUsage, id_of, usage_of
from preble_api.results import result_of
from preble_api.sampling_schemas import (
    FrequencyPenalty,
    PresencePenalty,
    RoomSampling,
    Sampling,
    Seed,
    Stop,
    TopLogprobs,
)
from preble_api.schemas import JobRequest
from preble_api.transcript import Piece

CHAT_PATH: Final = "/v1/chat/completions"

DEFAULT_OUTPUT_TOKENS: Final = 2048
"""Longest output where a client sets no limit, or what the prompt leaves of the context: each job
reserves KV cache for as much, so the whole context would leave room for few."""

_FIELD: Final = "messages"
_TOP: Final = "top_logprobs"


class ChatRequest(SharedFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A conversation to go on with."""

    messages: Annotated[
        list[Turn], Meta(min_length=1, max_length=4096, description="The conversation so far.")
    ]
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    frequency_penalty: FrequencyPenalty | None = None
    presence_penalty: PresencePenalty | None = None
    stop: Stop = None
    stream_options: Annotated[
        StreamOptions | None, Meta(description="What the events tell besides the text.")
    ] = None
    metadata: Metadata | None = None
    store: Ignored = UNSET
    parallel_tool_calls: Ignored = UNSET
    seed: Seed | None = None
    logprobs: Annotated[
        bool | None, Meta(description="Whether to tell the logprob of each token of the answer.")
    ] = None
    top_logprobs: TopLogprobs | None = None
    n: NotOffered = UNSET
    logit_bias: NotOffered = UNSET
    tools: NotOffered = UNSET
    tool_choice: NotOffered = UNSET
    functions: NotOffered = UNSET
    function_call: NotOffered = UNSET
    response_format: NotOffered = UNSET
    modalities: NotOffered = UNSET
    audio: NotOffered = UNSET
    prediction: NotOffered = UNSET
    reasoning_effort: NotOffered = UNSET
    verbosity: NotOffered = UNSET
    web_search_options: NotOffered = UNSET


class ChatReplyMessage(msgspec.Struct, frozen=True):
    """The answer's turn."""

    content: str
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """The one answer."""

    message: ChatReplyMessage
    finish_reason: str
    index: int = 0
    logprobs: ChatLogprobs | None = None


class ChatReply(msgspec.Struct, frozen=True):
    """A chat, completed."""

    id: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: CompletionUsage
    object: Literal["chat.completion"] = "chat.completion"


class ChatEndpoint:
    """Chats. Implements `endpoints.Endpoint`."""

    _decoder = msgspec.json.Decoder(ChatRequest)

    def parse(self, body: bytes) -> Asked:
        """What a body asks for. Raises: InvalidJob, HttpError."""
        request = parse_body(self._decoder, body)
        require_offered(request)
        options = request.stream_options or StreamOptions()
        return Asked(
            jobs=(_job(request),),
            echo=Echo(request.model),
            is_streamed=bool(request.stream),
            has_usage=bool(options.include_usage),
            has_running_usage=bool(options.continuous_usage_stats),
        )

    def reply(self, asked: Asked, *views: JobView, token_texts: TokenTexts) -> ChatReply:
        """The chat, completed. Raises: HttpError."""
        [view] = views
        result = result_of(view)
        choice = ChatChoice(
            ChatReplyMessage(result.text),
            result.finish_reason,
            logprobs=chat_logprobs(result, token_texts) if tells_logprobs(view.spec) else None,
        )
        return ChatReply(
            id=id_of("chatcmpl-", view.job_id),
            created=int(view.submitted_at_s),
            model=asked.echo.model,
            choices=[choice],
            usage=usage_of(result),
        )

    def in_its_names(self, error: InvalidJob) -> InvalidJob:
        """The queue calls most of them alike."""
        return type(error)(_TOP, str(error)) if error.field == LOGPROBS else error


class ChatChunks(Chunks):
    """Chunks of a chat's stream."""

    object = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any] | None:
        """Whose turn it is."""
        return self._choice(index, {"role": "assistant", "content": ""})

    def more(self, index: int, piece: Piece) -> dict[str, Any]:
        """More of the answer."""
        logprobs = chat_logprobs(piece, self.token_texts) if piece.logprobs else None
        return self._choice(index, {"content": piece.text}, logprobs=logprobs)

    def closing(self, index: int, finish_reason: str) -> dict[str, Any]:
        """Why it ended."""
        return self._choice(index, {}, finish_reason)

    def _choice(
        self, index: int, delta: dict[str, str], finish_reason: str | None = None,
        logprobs: ChatLogprobs | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        told = {"logprobs": logprobs, "finish_reason": finish_reason}
        return {"index": index, "delta": delta, **told}


def _job(request: ChatRequest) -> JobRequest:
    limit = _limit(request)
    kind = RoomSampling if limit is None else Sampling
    job = JobRequest(
        messages=chat_of(request.messages, _FIELD),
        model=request.model,
        sampling_params=sampling_of(
            request, kind, limit or DEFAULT_OUTPUT_TOKENS, seed=request.seed,
            logprobs=_logprobs(request),
        ),
    )  # fmt: skip
    return queued(job, request)


def _logprobs(request: ChatRequest) -> int | None:
    """As the queue counts them. Raises: InvalidJob if they are both wanted and not."""
    if request.logprobs:
        return request.top_logprobs or 0
    if request.top_logprobs:
        raise InvalidJob(_TOP, "goes with `logprobs: true`")
    return None


def _limit(request: ChatRequest) -> int | None:
    """Most tokens of output. Raises: InvalidJob if it is given twice, differently."""
    old, new = request.max_tokens, request.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise InvalidJob("max_tokens", "differs from `max_completion_tokens`: give one of them")
    return new if new is not None else old
