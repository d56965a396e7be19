"""Fields of OpenAI's requests: what is taken, what only with its neutral value.

A field that is not offered may be sent with a value that changes nothing, as clients send some
with every request; with any other it is refused, by name, rather than forgotten. Such fields are
kept as raw bytes, so that a hostile value costs nothing. Recorded from openai-python 3.54.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble_api.errors import HttpError
from preble_api.sampling_schemas import (
    NO_TOP_K,
    IgnoreEos,
    MinP,
    RepetitionPenalty,
    Sampling,
    TopK,
    TopP,
)
from preble_api.schemas import (
    CacheSalt,
    DeadlineS,
    JobPriority,
    JobRequest,
    Model,
    Tenant,
    Webhook,
)

UNSUPPORTED: Final = "unsupported_parameter"
"""Code of the answer to a field, or a value of one, that is not offered."""

NotOffered = Annotated[
    msgspec.Raw | UnsetType, Meta(description="Not offered: null or OpenAI's default is taken.")
]
Ignored = Annotated[
    msgspec.Raw | UnsetType, Meta(description="Taken, and without effect on the answer.")
]

MaxTokens = Annotated[int, Meta(ge=1, le=1_000_000, description="Longest output.")]
Temperature = Annotated[
    float, Meta(ge=0, le=2, description="1, if left out; 0 takes the likeliest token each time.")
]
Label = Annotated[str, Meta(max_length=512, description="Taken, and without effect.")]
MetadataKey = Annotated[str, Meta(max_length=64)]
MetadataText = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[
    dict[MetadataKey, MetadataText],
    Meta(max_length=16, description="Given back with the answer, where it is stored."),
]

_MOST_NEUTRAL_BYTES: Final = 64

_NULL: Final = b"null"
_NEUTRAL: Final[Mapping[str, frozenset[bytes]]] = {
    "audio": frozenset(),
    "best_of": frozenset({b"1"}),
    "echo": frozenset({b"false"}),
    "function_call": frozenset({b'"none"', b'"auto"'}),
    "functions": frozenset({b"[]"}),
    "logit_bias": frozenset({b"{}"}),
    "modalities": frozenset({b'["text"]'}),
    "n": frozenset({b"1"}),
    "prompt_cache_options": frozenset({b"{}", b'{"mode":"implicit"}'}),
    "prompt_cache_retention": frozenset({b'"in_memory"'}),
    "reasoning": frozenset({b"{}"}),
    "response_format": frozenset({b'{"type":"text"}'}),
    "service_tier": frozenset({b'"auto"', b'"default"'}),
    "suffix": frozenset({b'""'}),
    "text": frozenset({b"{}", b'{"format":{"type":"text"}}'}),
    "tool_calls": frozenset({b"[]"}),
    "tool_choice": frozenset({b'"none"', b'"auto"'}),
    "tools": frozenset({b"[]"}),
    "truncation": frozenset({b'"disabled"'}),
    "verbosity": frozenset({b'"medium"'}),
}
"""What a field may be sent with besides null, though it is not offered."""

_IGNORED: Final = frozenset({
    "annotations", "id", "include_obfuscation", "logprobs", "parallel_tool_calls", "phase",
    "status", "store",
})  # fmt: skip
"""Raw fields that may have any value."""

_SAMPLED: Final = (
    "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "stop", "ignore_eos",
)  # fmt: skip
"""Fields that the queue knows under the same name."""


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream tells besides the text."""

    include_usage: Annotated[
        bool | None, Meta(description="One more chunk at the end, with `usage`.")
    ] = None
    continuous_usage_stats: Annotated[
        bool | None, Meta(description="Usage so far in every chunk, as vLLM and SGLang tell it.")
    ] = None
    include_obfuscation: Ignored = UNSET


class SharedFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What all routes take: sampling in OpenAI's ranges, then fields of our own."""

    model: Model
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: Annotated[bool | None, Meta(description="Answer with events, as tokens come.")] = None
    user: Label | None = None
    safety_identifier: Label | None = None
    prompt_cache_key: Label | None = None
    # SGLang's and vLLM's.
    top_k: TopK | None = None
    min_p: MinP | None = None
    repetition_penalty: RepetitionPenalty | None = None
    ignore_eos: IgnoreEos | None = None
    # Of the queue.
    priority: JobPriority | None = None
    tenant: Tenant | None = None
    cache_salt: CacheSalt | None = None
    deadline_s: DeadlineS | None = None
    webhook: Webhook = None
    # Not offered anywhere.
    service_tier: NotOffered = UNSET
    prompt_cache_options: NotOffered = UNSET
    prompt_cache_retention: NotOffered = UNSET
    moderation: NotOffered = UNSET

    def __post_init__(self) -> None:
        """Refuse what no bound expresses. Raises: ValueError."""
        if self.top_k == 0:
            raise ValueError(NO_TOP_K)


def sampling_of(
    fields: SharedFields, kind: type[Sampling], max_new_tokens: int, *, seed: int | None = None,
    logprobs: int | None = None,
) -> Sampling:  # fmt: skip
    """How to sample, with the queue's defaults where nothing was said."""
    given = {name: getattr(fields, name, None) for name in _SAMPLED}
    told = {name: value for name, value in given.items() if value is not None}
    return kind(max_new_tokens=max_new_tokens, seed=seed, logprobs=logprobs, **told)


def queued(job: JobRequest, fields: SharedFields) -> JobRequest:
    """The job, with where and how long it waits."""
    return msgspec.structs.replace(
        job,
        priority=fields.priority or job.priority,
        tenant=fields.tenant,
        cache_salt=fields.cache_salt,
        deadline_s=fields.deadline_s,
        webhook=fields.webhook,
    )


def require_offered(struct: msgspec.Struct, place: str = "") -> None:
    """Refuse what would be silently forgotten.

    Args:
        struct: As it was decoded.
        place: Where it stands in the body, such as `messages[0].`.

    Raises:
        HttpError: 400, naming the field.
    """
    for name in struct.__struct_fields__:
        value: object = getattr(struct, name)
        if isinstance(value, msgspec.Raw) and not _is_neutral(name, value):
            raise not_offered(place + name)


def not_offered(param: str, why: str = "is not offered here; leave it out") -> HttpError:
    """The answer to a field that is not offered."""
    return HttpError(HTTPStatus.BAD_REQUEST, UNSUPPORTED, f"{param}: {why}", param=param)


def _is_neutral(name: str, value: msgspec.Raw) -> bool:
    if name in _IGNORED:
        return True
    written = bytes(value)
    if len(written) > _MOST_NEUTRAL_BYTES:
        return False
    try:
        compact = msgspec.json.encode(msgspec.json.decode(written))
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Raw bytes are looked at only here: such as `1e999`, which no float holds.
        return False
    return compact == _NULL or compact in _NEUTRAL.get(name, frozenset())
