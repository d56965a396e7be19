"""What is known of a job's output while it runs, put together from what its executions tell.

Deltas say where they belong, so that those that come twice do no harm. What comes after a gap is
left out: the result fills it. A later execution may say something else than an earlier one did;
then the transcript is taken back to where they agree, and its readers learn that.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from preble.messages import ExecutionId, JobResult, TokenDelta, TokenLogprob

_Output = TypeVar("_Output", str, list[int], list[TokenLogprob])


class Piece(msgspec.Struct, frozen=True):
    """What a job made since the last piece; text may be empty while ids are not."""

    text: str
    output_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of each of these ids, if they were asked for."""


class Place(NamedTuple):
    """How far into an output."""

    chars: int
    tokens: int


START: Final = Place(0, 0)


class Transcript:
    """The beginning of a job's output, as far as it is known."""

    def __init__(self) -> None:
        self.text = ""
        self.output_ids: list[int] = []
        """Grown in place: thousands of deltas make one."""
        self.logprobs: list[TokenLogprob] = []
        """Of the ids, from the first on; of none if they were not asked for."""
        self.cuts: list[Place] = []
        """Where it was taken back to, each time."""
        self._executions: list[ExecutionId] = []
        self._is_complete = False

    def add(self, delta: TokenDelta) -> None:
        """Take what an execution made; of one that was followed by another, nothing."""
        execution = delta.execution_id
        if self._is_complete or execution in self._executions[:-1]:
            return
        if execution not in self._executions:
            self._executions.append(execution)
        ids = list(delta.output_ids)
        chars = _kept(self.text, delta.char_at, delta.text)
        self._cut(Place(chars, _kept(self.output_ids, delta.token_at, ids)))
        self.text += _beyond(self.text, delta.char_at, delta.text)
        if len(self.logprobs) == len(self.output_ids):  # else some are lacking, until the end
            self.logprobs += _beyond(self.logprobs, delta.token_at, list(delta.logprobs))
        self.output_ids += _beyond(self.output_ids, delta.token_at, ids)

    def complete(self, result: JobResult) -> None:
        """The job has ended with this."""
        ids = list(result.output_ids)
        self._cut(Place(_agreed(self.text, result.text), _agreed(self.output_ids, ids)))
        self.text, self.output_ids = result.text, ids
        self.logprobs = list(result.logprobs)
        self._is_complete = True

    def _cut(self, agreed: Place) -> None:
        """Take it back to a place, if it goes beyond."""
        if agreed.chars < len(self.text) or agreed.tokens < len(self.output_ids):
            self.cuts.append(agreed)
            self.text = self.text[: agreed.chars]
            del self.output_ids[agreed.tokens :]
            del self.logprobs[agreed.tokens :]


class Reader:
    """Reads a transcript as it grows.

    Args:
        transcript: Of a job.
        place: Where to begin.
    """

    def __init__(self, transcript: Transcript, place: Place = START) -> None:
        self._transcript = transcript
        self.place = place
        self._seen_cuts = 0

    def step_back(self) -> bool:
        """Go back to where the transcript was taken back to. Returns: Whether that is before."""
        before, cuts = self.place, self._transcript.cuts
        for cut in cuts[self._seen_cuts :]:
            chars, tokens = min(self.place.chars, cut.chars), min(self.place.tokens, cut.tokens)
            self.place = Place(chars, tokens)
        self._seen_cuts = len(cuts)
        return self.place != before

    def take(self) -> Piece | None:
        """All that is new; None if there is nothing."""
        known = self._transcript
        ids = tuple(known.output_ids[self.place.tokens :])
        logprobs = tuple(known.logprobs[self.place.tokens :])
        all_logprobs = logprobs if len(logprobs) == len(ids) else ()
        piece = Piece(known.text[self.place.chars :], ids, all_logprobs)
        if not (piece.text or piece.output_ids):
            return None
        self.place = Place(len(known.text), len(known.output_ids))
        return piece


def _kept(known: Sequence[object], at: int, new: Sequence[object]) -> int:
    """Up to where what is known stays, given something new that begins at a place."""
    end = at + len(new)
    agreed = at + _agreed(known[at:end], new)
    return agreed if agreed < min(len(known), end) else len(known)


def _beyond(known: Sequence[object], at: int, new: _Output) -> _Output:
    """What is new and goes on from what is known; nothing after a gap."""
    return new[len(known) - at :] if at <= len(known) else new[:0]


def _agreed(one: Sequence[object], other: Sequence[object]) -> int:
    """Length of what two sequences begin with alike."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(at for at in range(shorter) if one[at] != other[at])
