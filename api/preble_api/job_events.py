"""A job's life as server-sent events, which can be resumed exactly, from any api process.

    state  {"status": "running", "attempt": 1, "instance": "gpu0"}
    delta  {"from": 12, "text": " of the output"}    of a job that keeps its tokens
    end    the job, as `GET /v1/jobs/{job_id}` shows it

The id of an event, `Last-Event-ID` of who resumes, says what was told by then: the state, the
characters, and a checksum of them. So it shows if a job that ran again says something else; then
the next delta begins before what was told, and takes its place.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Final, Self

import msgspec

from preble.errors import InvalidJob
from preble.messages import JobState, JobView
from preble_api.transcript import Place, Reader, Transcript
from preble_api.views import status_of
from preble_api.waits import Sight

LAST_EVENT_ID: Final = "Last-Event-ID"
END_ID: Final = "end"

_ID: Final = re.compile(r"(\d{1,9})-(\d{1,9})-([0-9a-f]{1,8})")
_STATES_PER_ATTEMPT: Final = 3
_STEP: Final = {JobState.WAITING: 1, JobState.ASSIGNED: 2, JobState.RUNNING: 0}
"""A run begins an attempt; the wait for the next one follows it."""

_encode: Final = msgspec.json.Encoder().encode


class StateEvent(msgspec.Struct, frozen=True):
    """A job stands otherwise than before."""

    status: JobState
    attempt: int
    instance: str | None


class DeltaEvent(msgspec.Struct, frozen=True, rename={"start": "from"}):
    """A job has made this text, which stands from so many characters on."""

    start: int
    text: str


class Mark(msgspec.Struct, frozen=True):
    """What was told of a job; state 0 is none."""

    state: int = 0
    chars: int = 0
    checksum: int = 0

    @classmethod
    def from_id(cls, event_id: str) -> Self:
        """The mark in the id of an event. Raises: InvalidJob."""
        parts = _ID.fullmatch(event_id)
        if parts is None:
            raise InvalidJob(LAST_EVENT_ID, "is not the id of an event that was sent here")
        state, chars, checksum = parts.groups()
        return cls(int(state), int(chars), int(checksum, 16))

    @property
    def event_id(self) -> str:
        """The id of the event after which so much is told."""
        return f"{self.state}-{self.chars}-{self.checksum:x}"

    def at(self, text: str) -> Self:
        """The same state, and this text."""
        return msgspec.structs.replace(self, chars=len(text), checksum=_checksum(text))


class JobEvents:
    """The events of one job, for one client.

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
            yield from self._deltas(sight.transcript, has_ended=has_ended)
        if has_ended:
            yield _framed("end", END_ID, _encode(status_of(view)))

    def _deltas(self, transcript: Transcript, *, has_ended: bool) -> Iterator[bytes]:
        if self._reader is None:
            if len(transcript.text) < self._told.chars and not has_ended:
                return  # so far nobody here knows what was told
            self._reader = self._resumed(transcript)
        if self._reader.step_back():
            self._told = self._told.at(transcript.text[: self._reader.place.chars])
        piece = self._reader.take()
        if piece and piece.text:
            start = self._told.chars
            checksum = zlib.crc32(piece.text.encode(), self._told.checksum)
            self._told = Mark(self._told.state, start + len(piece.text), checksum)
            yield self._event("delta", DeltaEvent(start, piece.text))

    def _resumed(self, transcript: Transcript) -> Reader:
        """A reader from where the client is, or from the start if it was told something else."""
        known = transcript.text[: self._told.chars]
        if self._told.at(known) != self._told:
            self._told = self._told.at("")
        return Reader(transcript, Place(self._told.chars, 0))

    def _event(self, name: str, data: msgspec.Struct) -> bytes:
        return _framed(name, self._told.event_id, _encode(data))


def _state_number(view: JobView) -> int:
    """One for each state of each attempt."""
    return _STATES_PER_ATTEMPT * view.attempt + _STEP[view.state]


def _checksum(text: str) -> int:
    return zlib.crc32(text.encode())


def _framed(name: str, event_id: str, data: bytes) -> bytes:
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), event_id.encode(), data)
