"""How clients say what outputs shall be: the fields of sampling, for all dialects."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from preble.messages import SamplingParams

_DEFAULTS: Final = SamplingParams()

NO_TOP_K: Final = "0 would leave no token; use -1 for all"

TopK = Annotated[
    int, Meta(ge=-1, le=1_000_000, description="So many of the likeliest tokens; -1 for all.")
]
TopP = Annotated[
    float, Meta(gt=0, le=1, description="The likeliest tokens that together have this chance.")
]
MinP = Annotated[
    float, Meta(ge=0, le=1, description="Tokens with this share of the likeliest one's chance.")
]
FrequencyPenalty = Annotated[
    float, Meta(ge=-2, le=2, description="Above 0 tokens grow rarer with each time they came.")
]
PresencePenalty = Annotated[
    float, Meta(ge=-2, le=2, description="Above 0 tokens that came before grow rarer.")
]
RepetitionPenalty = Annotated[
    float, Meta(gt=0, le=2, description="The same, the prompt's too, as a factor: above 1.")
]
IgnoreEos = Annotated[
    bool, Meta(description="Go on after the model's own end, to the limit of tokens.")
]
StopText = Annotated[str, Meta(min_length=1, max_length=256)]
StopTexts = Annotated[list[StopText], Meta(max_length=16)]
Seed = Annotated[
    int,
    Meta(
        ge=-(2**63), le=2**63 - 1,
        description="With the same one an output can be drawn again, where the engine takes one.",
    ),
]  # fmt: skip
MOST_TOP_LOGPROBS: Final = 20
TopLogprobs = Annotated[
    int,
    Meta(
        ge=0, le=MOST_TOP_LOGPROBS,
        description="Likeliest tokens to tell beside each token of the output, with logprobs.",
    ),
]  # fmt: skip
Stop = Annotated[
    StopText | StopTexts | None, Meta(description="Texts that end the output, and are left out.")
]


class AnySampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to sample the output, in the names that our own jobs and SGLang's share."""

    max_new_tokens: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Longest output.")
    ] = _DEFAULTS.max_new_tokens  # fmt: skip
    temperature: Annotated[
        float, Meta(ge=0, le=10, description="0 takes the likeliest token each time.")
    ] = _DEFAULTS.temperature
    top_p: TopP = _DEFAULTS.top_p
    top_k: TopK = _DEFAULTS.top_k
    min_p: MinP = _DEFAULTS.min_p
    frequency_penalty: FrequencyPenalty = _DEFAULTS.frequency_penalty
    presence_penalty: PresencePenalty = _DEFAULTS.presence_penalty
    repetition_penalty: RepetitionPenalty = _DEFAULTS.repetition_penalty
    stop: Stop = None
    ignore_eos: IgnoreEos = _DEFAULTS.ignore_eos

    def __post_init__(self) -> None:
        """Refuse what no bound expresses. Raises: ValueError."""
        if self.top_k == 0:
            raise ValueError(NO_TOP_K)


class Sampling(AnySampling, frozen=True, forbid_unknown_fields=True):
    """How to sample the output, in SGLang's names but for the seed and the logprobs."""

    seed: Seed | None = None
    logprobs: Annotated[
        TopLogprobs | None,
        Meta(description="0 tells the logprob of each token of the output alone; null none."),
    ] = None


class RoomSampling(Sampling, frozen=True, forbid_unknown_fields=True):
    """The same of a client that set no limit: fewer tokens, if the prompt leaves no more room."""
