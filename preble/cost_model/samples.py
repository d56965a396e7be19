"""Timed steps of an engine, one JSON object a line, from which a cost model is fitted.

    {"new_tokens": 512, "context_tokens": 1536, "num_requests": 1, "step_s": 0.071}

A step computes `new_tokens` over `context_tokens` in all, the new ones among them, for
`num_requests` requests that have equal shares in both.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from preble.errors import ConfigError

_Count = Annotated[int, msgspec.Meta(ge=1)]


class StepSample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One timed step, or the mean of several alike."""

    new_tokens: _Count
    context_tokens: _Count
    num_requests: _Count
    step_s: Annotated[float, msgspec.Meta(gt=0, le=3600)]

    def __post_init__(self) -> None:
        """Check what concerns several fields. Raises: ValueError."""
        if not self.num_requests <= self.new_tokens <= self.context_tokens:
            msg = "num_requests must not exceed new_tokens, nor those context_tokens"
            raise ValueError(msg)

    @property
    def point(self) -> tuple[int, int, int]:
        """What the duration is a function of."""
        return self.new_tokens, self.context_tokens, self.num_requests


def parse_samples(text: bytes, *, origin: str) -> list[StepSample]:
    """The samples in the text of a file; empty lines are skipped.

    Raises:
        ConfigError: If a line is none, with its number and the reason.
    """
    lines = enumerate(text.splitlines(), start=1)
    return [_parse(line, f"{origin}, line {number}") for number, line in lines if line.strip()]


def format_samples(samples: Iterable[StepSample]) -> bytes:
    """The text of a file of samples."""
    return b"".join(msgspec.json.encode(sample) + b"\n" for sample in samples)


def _parse(line: bytes, where: str) -> StepSample:
    try:
        return msgspec.json.decode(line, type=StepSample)
    except msgspec.DecodeError as error:
        msg = f"{where}: {error}"
        raise ConfigError(msg) from None
