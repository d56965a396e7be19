"""`POST /v1/completions`: its body, its answer, the chunks of its stream.

Several prompts are several jobs, admitted together or not at all; their answers are the choices.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, cast

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
    MaxTokens,
    NotOffered,
    SharedFields,
    StreamOptions,
    queued,
    require_offered,
    sampling_of,
)
from preble_api.openai.logprobs import CompletionLogprobs, CompletionTokens
from preble_api.openai.parsing import parse_body
from preble_api.openai.results import CompletionUsage, id_of, usage_of
from preble_api.results import result_of
from preble_api.sampling_schemas import (
    FrequencyPenalty,
    PresencePenalty,
    Sampling,
    Seed,
    Stop,
)
from preble_api.schemas import JobRequest
from preble_api.transcript import Piece

COMPLETIONS_PATH: Final = "/v1/completions"

MOST_PROMPTS: Final = 128
"""Prompts of one request: their jobs' ids go in one header."""

_DEFAULT_TOKENS: Final = 16
"""OpenAI's."""

_FIELD: Final = "prompt"
_WRONG: Final = "must be a text, token ids, a list of texts or a list of lists of token ids"
_JOB_FIELD: Final = re.compile(r"(?:jobs(\[\d+\])\.)?(?:prompt|input_ids)(\[\d+\])?")

Prompt = str | Annotated[list[int | str | list[int]], Meta(min_length=1)]

CompletionTop = Annotated[
    int, Meta(ge=0, le=5, description="Likeliest tokens to tell beside each token of the answer.")
]


class CompletionRequest(SharedFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prompts to complete."""

    prompt: Annotated[Prompt, Meta(description=f"{_WRONG}; at most {MOST_PROMPTS} prompts.")]
    max_tokens: MaxTokens | None = None
    frequency_penalty: FrequencyPenalty | None = None
    presence_penalty: PresencePenalty | None = None
    stop: Stop = None
    stream_options: Annotated[
        StreamOptions | None, Meta(description="What the events tell besides the text.")
    ] = None
    seed: Seed | None = None
    logprobs: CompletionTop | None = None
    n: NotOffered = UNSET
    best_of: NotOffered = UNSET
    echo: NotOffered = UNSET
    suffix: NotOffered = UNSET
    logit_bias: NotOffered = UNSET


class CompletionChoice(msgspec.Struct, frozen=True):
    """The answer to one prompt."""

    index: int
    text: str
    finish_reason: str
    logprobs: CompletionLogprobs | None = None


class CompletionReply(msgspec.Struct, frozen=True):
    """Prompts, completed, in the order in which they were given."""

    id: str
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage
    object: Literal["text_completion"] = "text_completion"


class CompletionEndpoint:
    """Completions. Implements `endpoints.Endpoint`."""

    _decoder = msgspec.json.Decoder(CompletionRequest)

    def parse(self, body: bytes) -> Asked:
        """What a body asks for. Raises: InvalidJob, HttpError."""
        request = parse_body(self._decoder, body)
        require_offered(request)
        options = request.stream_options or StreamOptions()
        return Asked(
            jobs=tuple(_job(request, prompt) for prompt in _prompts(request.prompt)),
            echo=Echo(request.model),
            is_streamed=bool(request.stream),
            has_usage=bool(options.include_usage),
            has_running_usage=bool(options.continuous_usage_stats),
        )

    def reply(self, asked: Asked, *views: JobView, token_texts: TokenTexts) -> CompletionReply:
        """All prompts, completed. Raises: HttpError if one was not."""
        results = [result_of(view) for view in views]
        return CompletionReply(
            id=id_of("cmpl-", views[0].job_id),
            created=int(views[0].submitted_at_s),
            model=asked.echo.model,
            choices=[_choice(*each, token_texts) for each in enumerate(views)],
            usage=usage_of(*results),
        )

    def in_its_names(self, error: InvalidJob) -> InvalidJob:
        """`jobs[3].input_ids[0]` is called `prompt[3][0]` here."""
        if error.field.endswith(LOGPROBS):
            return type(error)("logprobs", str(error))
        if found := _JOB_FIELD.fullmatch(error.field):
            return type(error)(_FIELD + (found[1] or "") + (found[2] or ""), str(error))
        return error


class CompletionChunks(Chunks):
    """Chunks of a completion's stream."""

    object = "text_completion"

    def __init__(
        self, asked: Asked, answer_id: str, created_s: int, token_texts: TokenTexts
    ) -> None:
        super().__init__(asked, answer_id, created_s, token_texts)
        self._tokens: dict[int, CompletionTokens] = {}
        """Of each choice that tells its logprobs."""

    def opening(self, index: int) -> None:
        """Nothing goes before the text."""

    def more(self, index: int, piece: Piece) -> dict[str, Any]:
        """More of one answer."""
        logprobs = self._logprobs(index, piece) if piece.logprobs else None
        return {"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": None}

    def closing(self, index: int, finish_reason: str) -> dict[str, Any]:
        """Why it ended."""
        return {"index": index, "text": "", "logprobs": None, "finish_reason": finish_reason}

    def _logprobs(self, index: int, piece: Piece) -> CompletionLogprobs:
        tokens = self._tokens.setdefault(index, CompletionTokens(self.token_texts))
        return tokens.of(piece)


def _choice(index: int, view: JobView, token_texts: TokenTexts) -> CompletionChoice:
    """The answer to one prompt. Raises: HttpError if there is none."""
    result = result_of(view)
    logprobs = CompletionTokens(token_texts).of(result) if tells_logprobs(view.spec) else None
    return CompletionChoice(index, result.text, result.finish_reason, logprobs)


def _job(request: CompletionRequest, prompt: str | list[int]) -> JobRequest:
    job = JobRequest(
        prompt=prompt if isinstance(prompt, str) else None,
        input_ids=None if isinstance(prompt, str) else prompt,
        model=request.model,
        sampling_params=sampling_of(
            request, Sampling, request.max_tokens or _DEFAULT_TOKENS, seed=request.seed,
            logprobs=request.logprobs,
        ),
    )  # fmt: skip
    return queued(job, request)


def _prompts(given: Prompt) -> Sequence[str | list[int]]:
    """One entry for each choice. Raises: InvalidJob if kinds are mixed, or one is empty."""
    prompts = [given] if isinstance(given, str) or _kinds(given) == {int} else given
    if len(prompts) > MOST_PROMPTS:
        raise InvalidJob(_FIELD, f"{len(prompts)} prompts are more than {MOST_PROMPTS}")
    if len(_kinds(prompts)) != 1 or _kinds(prompts) == {int}:
        raise InvalidJob(_FIELD, _WRONG)
    if not all(prompts):
        raise InvalidJob(_FIELD, "must not be empty")
    return cast("Sequence[str | list[int]]", prompts)


def _kinds(prompts: Sequence[object]) -> set[type]:
    return set(map(type, prompts))
