"""SGLang's `/generate` as clients send and get it: what is taken, what is only tolerated.

One request may be several: then `text` or `input_ids` is a list, and the answer is one.

A field that is tolerated may be sent with its neutral value, as SGLang's own clients send
some with every request; any other value is refused rather than forgotten. Those fields are
kept as raw bytes, so a hostile value costs nothing. Recorded from SGLang 0.5.23.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from preble.errors import InvalidJob
from preble_api.sampling_schemas import AnySampling, Seed, TopLogprobs
from preble_api.schemas import MAX_JOBS, CacheSalt, Prompt

MOST_RID_CHARS: Final = 128

NotOffered = Annotated[
    msgspec.Raw | UnsetType, Meta(description="Not offered: null or SGLang's default is taken.")
]
Ignored = Annotated[
    msgspec.Raw | UnsetType, Meta(description="Taken, and without effect on the answer.")
]

_NEUTRAL: Final = frozenset({b"null", b"false", b"0", b'""', b"[]", b"{}"})
_DEFAULTS: Final = {
    "n": b"1",
    "skip_special_tokens": b"true",
    "spaces_between_special_tokens": b"true",
}
"""Of fields whose default is not neutral."""


class GenerateSampling(AnySampling, frozen=True, forbid_unknown_fields=True):
    """How to sample the output, in SGLang's names."""

    sampling_seed: Seed | None = None
    dtype: NotOffered = UNSET
    regex: NotOffered = UNSET
    json_schema: NotOffered = UNSET
    ebnf: NotOffered = UNSET
    structural_tag: NotOffered = UNSET
    stop_token_ids: NotOffered = UNSET
    stop_regex: NotOffered = UNSET
    min_new_tokens: NotOffered = UNSET
    n: NotOffered = UNSET
    beam_width: NotOffered = UNSET
    skip_special_tokens: NotOffered = UNSET
    spaces_between_special_tokens: NotOffered = UNSET
    no_stop_trim: NotOffered = UNSET
    logit_bias: NotOffered = UNSET
    custom_params: NotOffered = UNSET
    stream_interval: Ignored = UNSET


Prompts = Annotated[list[Prompt], Meta(min_length=1, max_length=MAX_JOBS)]
IdsOfOne = Annotated[list[int], Meta(min_length=1)]
AllIds = Annotated[
    list[int | IdsOfOne],
    Meta(description="Token ids of the pool's model, of one prompt or of each of up to 1,000."),
]
Rid = Annotated[
    str,
    Meta(
        max_length=MOST_RID_CHARS,
        description="Comes back as meta_info.id. A UUID names the job: sent again, it is the same.",
    ),
]
Rids = Annotated[list[Rid], Meta(max_length=MAX_JOBS)]
Flags = Annotated[list[bool], Meta(max_length=MAX_JOBS)]
Tops = Annotated[list[TopLogprobs], Meta(max_length=MAX_JOBS)]
Places = Annotated[list[int], Meta(max_length=MAX_JOBS)]
Samplings = Annotated[
    list[GenerateSampling],
    Meta(max_length=MAX_JOBS, description="How to sample: one for all, or one for each prompt."),
]


class GenerateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prompts to complete: `text` or `input_ids`; where both are given, the ids count."""

    text: Prompt | Prompts | None = None
    input_ids: AllIds | None = None
    sampling_params: GenerateSampling | Samplings | None = None
    rid: Rid | Rids | None = None
    stream: Annotated[bool | None, Meta(description="Answer with events, as tokens come.")] = False
    cache_salt: CacheSalt | None = None
    return_logprob: Annotated[
        bool | Flags | None, Meta(description="Whether to tell the logprobs of the output.")
    ] = None
    top_logprobs_num: TopLogprobs | Tops | None = None
    return_text_in_logprobs: Annotated[
        bool | None, Meta(description="Whether each logprob has its token's text.")
    ] = None
    logprob_start_len: Annotated[
        int | Places | None, Meta(description="-1: logprobs of the prompt are not offered.")
    ] = None
    token_ids_logprob: NotOffered = UNSET
    return_hidden_states: NotOffered = UNSET
    return_routed_experts: NotOffered = UNSET
    input_embeds: NotOffered = UNSET
    image_data: NotOffered = UNSET
    video_data: NotOffered = UNSET
    audio_data: NotOffered = UNSET
    modalities: NotOffered = UNSET
    lora_path: NotOffered = UNSET
    session_params: NotOffered = UNSET
    custom_logit_processor: NotOffered = UNSET
    priority: NotOffered = UNSET
    background: NotOffered = UNSET
    log_metrics: Ignored = UNSET


_IGNORED: Final = frozenset({"stream_interval", "log_metrics"})


class FinishReason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the output ended; `length` is its length where that was the reason."""

    type: str
    length: int | None = None


class MetaInfo(msgspec.Struct, frozen=True):
    """SGLang's figures, as far as a queue knows them.

    While a stream goes on there is no reason and no latency, and `cached_tokens` is 0.
    """

    id: str
    finish_reason: FinishReason | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    e2e_latency: Annotated[float, Meta(description="Seconds since the submission.")] | UnsetType = (
        UNSET
    )
    input_token_logprobs: Annotated[
        list[str] | UnsetType, Meta(description="Empty: those of the prompt are not offered.")
    ] = UNSET
    output_token_logprobs: Annotated[
        msgspec.Raw | UnsetType, Meta(description="Of each token logprob, id, and text or null.")
    ] = UNSET
    output_token_logprobs_length: int | UnsetType = UNSET
    input_top_logprobs: Annotated[list[str] | UnsetType, Meta(description="Likewise empty.")] = (
        UNSET
    )
    output_top_logprobs: Annotated[
        msgspec.Raw | UnsetType,
        Meta(description="Beside each token the likeliest ones, in the same form."),
    ] = UNSET


class GenerateReply(msgspec.Struct, frozen=True):
    """A completed prompt, or in an event of a stream what there is of it, from its beginning."""

    text: str
    output_ids: tuple[int, ...]
    meta_info: MetaInfo
    index: Annotated[int, Meta(description="Place in the list; in streams only.")] | UnsetType = (
        UNSET
    )


class StreamError(msgspec.Struct, frozen=True):
    """What went wrong, where a stream had begun."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    code: int
    retryable: bool


class StreamErrorEvent(msgspec.Struct, frozen=True):
    """The event that tells of it."""

    error: StreamError


def require_offered(request: GenerateRequest) -> None:
    """Refuse what would be silently forgotten. Raises: InvalidJob, naming the field."""
    _require_neutral(request, "")
    sampling = request.sampling_params
    if isinstance(sampling, list):
        for number, each in enumerate(sampling):
            _require_neutral(each, f"sampling_params[{number}].")
    elif sampling is not None:
        _require_neutral(sampling, "sampling_params.")


def _require_neutral(struct: msgspec.Struct, place: str) -> None:
    for name in struct.__struct_fields__:
        value: object = getattr(struct, name)
        if isinstance(value, msgspec.Raw) and name not in _IGNORED:
            default = _DEFAULTS.get(name)
            taken = {b"null", default} if default else _NEUTRAL
            if bytes(value) not in taken:
                raise InvalidJob(place + name, "is not offered here; leave it out")
