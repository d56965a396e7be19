"""Logprobs in SGLang's form, in which a stream tells all of them again with each event. Pure.

    output_token_logprobs   [[-0.1, 5, " cat"], …]               the text only if it was asked for
    output_top_logprobs     [[[-0.1, 5, " cat"], …], …]          only if some were asked for

So what was told is kept as JSON, and not made again.
"""

from typing import Final

import msgspec

from preble.messages import JobResult, JobSpec
from preble.tokenizer import TokenTexts
from preble_api.generate_schemas import MetaInfo
from preble_api.logprobs import each_token, tells_logprobs
from preble_api.transcript import Piece

Entry = tuple[float, int, str | None]

_encode: Final = msgspec.json.Encoder().encode


class OutputLogprobs:
    """All that is known of the logprobs of one output, as it grows.

    Args:
        token_texts: Of the pool's tokenizer; None if the texts were not asked for.
        has_top: Whether the likeliest tokens were.
    """

    def __init__(self, token_texts: TokenTexts | None, *, has_top: bool) -> None:
        self._token_texts = token_texts
        self._has_top = has_top
        self._number = 0
        self._tokens = bytearray()
        self._top = bytearray()

    def add(self, told: Piece | JobResult) -> None:
        """There is more."""
        for token_id, each in each_token(told):
            self._number += 1
            _append(self._tokens, self._entry(token_id, each.logprob))
            if self._has_top:
                _append(self._top, [self._entry(*likely) for likely in each.top])

    def in_meta(self, known: MetaInfo) -> MetaInfo:
        """The figures of an answer, with these."""
        top: dict[str, object] = {
            "input_top_logprobs": [], "output_top_logprobs": _array(self._top),
        }  # fmt: skip
        return msgspec.structs.replace(
            known,
            input_token_logprobs=[],
            output_token_logprobs=_array(self._tokens),
            output_token_logprobs_length=self._number,
            **(top if self._has_top else {}),
        )

    def _entry(self, token_id: int, logprob: float) -> Entry:
        texts = self._token_texts
        return logprob, token_id, texts.of(token_id).text if texts else None


def asked_logprobs(spec: JobSpec, token_texts: TokenTexts | None) -> OutputLogprobs | None:
    """Where the logprobs of a job go; None if it was asked for none."""
    if not tells_logprobs(spec):
        return None
    return OutputLogprobs(token_texts, has_top=bool(spec.sampling.logprobs))


def _append(entries: bytearray, entry: Entry | list[Entry]) -> None:
    """Changes: `entries`."""
    if entries:
        entries += b","
    entries += _encode(entry)


def _array(entries: bytearray) -> msgspec.Raw:
    return msgspec.Raw(b"[%b]" % bytes(entries))
