"""What is known of a job's output while it runs, put together from what its executions tell.

Deltas say where they belong, so that those that come twice do no harm. What comes after a gap is
left out: the result fills it. A later execution may say something else than an earlier one did;
then the transcript is taken back to where they agree, and its readers learn that.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from preble.messages import ExecutionId, JobResult, TokenDelta

_Output = TypeVar("_Output", str, tuple[int, ...])


class Piece(msgspec.Struct, frozen=True):
    """What a job made since the last piece; text may be empty while ids are not."""

    text: str
    output_ids: tuple[int, ...]


class Place(NamedTuple):
    """How far into an output."""

    chars: int
    tokens: int


START: Final = Place(0, 0)


class Transcript:
    """The beginning of a job's output, as far as it is known."""

    def __init__(self) -> None:
        self.text = ""
        self.output_ids: tuple[int, ...] = ()
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
        text, chars = _joined(self.text, delta.char_at, delta.text)
        ids, tokens = _joined(self.output_ids, delta.token_at, delta.output_ids)
        self._become(text, ids, Place(chars, tokens))

    def complete(self, result: JobResult) -> None:
        """The job has ended with this."""
        agreed = Place(_agreed(self.text, result.text), _agreed(self.output_ids, result.output_ids))
        self._become(result.text, result.output_ids, agreed)
        self._is_complete = True

    def _become(self, text: str, output_ids: tuple[int, ...], agreed: Place) -> None:
        if agreed.chars < len(self.text) or agreed.tokens < len(self.output_ids):
            self.cuts.append(agreed)
        self.text, self.output_ids = text, output_ids


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
        piece = Piece(known.text[self.place.chars :], known.output_ids[self.place.tokens :])
        if not (piece.text or piece.output_ids):
            return None
        self.place = Place(len(known.text), len(known.output_ids))
        return piece


def _joined(known: _Output, at: int, new: _Output) -> tuple[_Output, int]:
    """What is known with what is new, which begins at a place; and up to where they agree."""
    if at > len(known):
        return known, len(known)
    agreed = at + _agreed(known[at:], new)
    if agreed < min(len(known), at + len(new)):
        return known[:agreed] + new[agreed - at :], agreed
    return known + new[len(known) - at :], len(known)


def _agreed(one: Sequence[object], other: Sequence[object]) -> int:
    """Length of what two sequences begin with alike."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(at for at in range(shorter) if one[at] != other[at])
