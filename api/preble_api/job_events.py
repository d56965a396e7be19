"""A job's life as server-sent events, which can be resumed exactly, from any api process.

    state  {"status": "running", "attempt": 1, "instance": "gpu0"}
    delta  {"from": 12, "text": " of the output"}    of a job that keeps its tokens
           … "token_from": 3, "logprobs": [{"token_id": 5, …}]    if it was asked for logprobs
    end    the job, as `GET /v1/jobs/{job_id}` shows it

The id of an event, `Last-Event-ID` of who resumes, says what was told by then: the state, the
characters, and a checksum of them; of a job with logprobs the tokens, likewise. So it shows if a
job that ran again says something else; then the next delta begins before what was told, and takes
its place.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Final, Self

import msgspec
from msgspec import UNSET, UnsetType

from preble.errors import InvalidJob
from preble.messages import JobState, JobView, pack_tokens
from preble_api.logprobs import tells_logprobs
from preble_api.rendering import FEW_LOGPROBS
from preble_api.schemas import OutputLogprob
from preble_api.transcript import Piece, Place, Reader, Transcript
from preble_api.views import logprobs_of, status_of
from preble_api.waits import Sight

LAST_EVENT_ID: Final = "Last-Event-ID"
END_ID: Final = "end"

_ID: Final = re.compile(r"(\d{1,9})-(\d{1,9})-([0-9a-f]{1,8})(?:-(\d{1,9})-([0-9a-f]{1,8}))?")
_STATES_PER_ATTEMPT: Final = 3
_STEP: Final = {JobState.WAITING: 1, JobState.ASSIGNED: 2, JobState.RUNNING: 0}
"""A run begins an attempt; the wait for the next one follows it."""

_encode: Final = msgspec.json.Encoder().encode


class StateEvent(msgspec.Struct, frozen=True):
    """A job stands otherwise than before."""

    status: JobState
    attempt: int
    instance: str | None


class DeltaEvent(
    msgspec.Struct, frozen=True, rename={"start": "from", "token_start": "token_from"}
):
    """A job has made this text, which stands from so many characters on, and these tokens."""

    start: int
    text: str
    token_start: int | UnsetType = UNSET
    logprobs: list[OutputLogprob] | UnsetType = UNSET
    """Of the tokens; both for who asked for logprobs alone."""


class Mark(msgspec.Struct, frozen=True):
    """What was told of a job; state 0 is none."""

    state: int = 0
    chars: int = 0
    checksum: int = 0
    tokens: int = 0
    """Of a job with logprobs."""
    ids_checksum: int = 0

    @classmethod
    def from_id(cls, event_id: str) -> Self:
        """The mark in the id of an event. Raises: InvalidJob."""
        parts = _ID.fullmatch(event_id)
        if parts is None:
            raise InvalidJob(LAST_EVENT_ID, "is not the id of an event that was sent here")
        state, chars, checksum, tokens, ids_checksum = parts.groups("0")
        return cls(int(state), int(chars), int(checksum, 16), int(tokens), int(ids_checksum, 16))

    @property
    def event_id(self) -> str:
        """The id of the event after which so much is told."""
        tokens = f"-{self.tokens}-{self.ids_checksum:x}" if self.tokens else ""
        return f"{self.state}-{self.chars}-{self.checksum:x}{tokens}"

    def after(self, piece: Piece) -> Self:
        """The same state, and this piece beside what was told."""
        return msgspec.structs.replace(
            self,
            chars=self.chars + len(piece.text),
            checksum=zlib.crc32(piece.text.encode(), self.checksum),
            tokens=self.tokens + len(piece.output_ids),
            ids_checksum=zlib.crc32(pack_tokens(piece.output_ids), self.ids_checksum),
        )


class JobEvents:
    """The events of one job, for one client, but for the last.

    Args:
        told: What it knows.
    """

    def __init__(self, told: Mark) -> None:
        self._told = told
        self._reader: Reader | None = None

    def of(self, sight: Sight) -> Iterator[bytes]:
        """What is to be told after a sight of the job."""
        view = sight.view
        has_ended = view.state.is_terminal
        if not has_ended and (number := _state_number(view)) != self._told.state:
            self._told = msgspec.structs.replace(self._told, state=number)
            yield self._event("state", StateEvent(view.state, view.attempt, view.instance_id))
        if view.spec.is_logged:
            yield from self._deltas(sight)

    def _deltas(self, sight: Sight) -> Iterator[bytes]:
        transcript, has_logprobs = sight.transcript, tells_logprobs(sight.view.spec)
        if self._reader is None:
            if self._is_beyond(transcript) and not sight.view.state.is_terminal:
                return  # so far nobody here knows what was told
            self._reader = self._resumed(transcript, has_logprobs=has_logprobs)
        if self._reader.step_back():
            self._told = self._at(transcript, self._reader.place, has_logprobs=has_logprobs)
        piece = self._reader.take()
        if piece is None:
            return
        if has_logprobs:
            yield from map(self._delta, _parts(piece))
        elif piece.text:
            yield self._delta(Piece(piece.text, ()))

    def _delta(self, piece: Piece) -> bytes:
        event = DeltaEvent(self._told.chars, piece.text)
        if piece.output_ids:
            event = msgspec.structs.replace(
                event, token_start=self._told.tokens, logprobs=logprobs_of(piece)
            )
        self._told = self._told.after(piece)
        return self._event("delta", event)

    def _is_beyond(self, transcript: Transcript) -> bool:
        """Whether the client was told more than is known here."""
        known = Place(len(transcript.text), len(transcript.output_ids))
        return known.chars < self._told.chars or known.tokens < self._told.tokens

    def _resumed(self, transcript: Transcript, *, has_logprobs: bool) -> Reader:
        """A reader from where the client is, or from the start if it was told something else."""
        place = Place(self._told.chars, self._told.tokens)
        if self._at(transcript, place, has_logprobs=has_logprobs) != self._told:
            self._told = Mark(self._told.state)
        return Reader(transcript, Place(self._told.chars, self._told.tokens))

    def _at(self, transcript: Transcript, place: Place, *, has_logprobs: bool) -> Mark:
        """The mark of who was told all of a transcript before a place."""
        ids = tuple(transcript.output_ids[: place.tokens]) if has_logprobs else ()
        return Mark(self._told.state).after(Piece(transcript.text[: place.chars], ids))

    def _event(self, name: str, data: msgspec.Struct) -> bytes:
        return _framed(name, self._told.event_id, _encode(data))


def end_event(view: JobView) -> bytes:
    """The last event of a job, which has ended."""
    return _framed("end", END_ID, _encode(status_of(view)))


def _parts(piece: Piece) -> Iterator[Piece]:
    """A piece, cut where it has many logprobs, so that others run between; text comes first."""
    likely = len(piece.logprobs[0].top) if piece.logprobs else 0
    step = max(1, FEW_LOGPROBS // (1 + likely))
    for at in range(0, max(1, len(piece.output_ids)), step):
        ids, logprobs = piece.output_ids[at : at + step], piece.logprobs[at : at + step]
        yield Piece(piece.text if at == 0 else "", ids, logprobs)


def _state_number(view: JobView) -> int:
    """One for each state of each attempt."""
    return _STATES_PER_ATTEMPT * view.attempt + _STEP[view.state]


def _framed(name: str, event_id: str, data: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), event_id.encode(), data)
