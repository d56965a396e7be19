"""The events of a job, as they come in pieces over connections that may break. Pure."""

from collections.abc import Iterator
from typing import Final, TypeAlias

import httpx2
import msgspec

from preble.client.attempts import Attempts, Patience
from preble.client.calls import path_of
from preble.client.errors import ServerUnreachable, UnexpectedReply
from preble.client.exchange import Exchange, refusal
from preble.client.replies import Job, OutputLogprob
from preble.client.retries import may_try_again
from preble.messages import JobState

_END_ID: Final = "end"


class StateEvent(msgspec.Struct, frozen=True):
    """The job stands otherwise than before."""

    status: JobState
    attempt: int = 0
    instance: str | None = None


class TextEvent(msgspec.Struct, frozen=True, rename={"start": "from", "token_start": "token_from"}):
    """New text, which stands from so many characters on.

    Where that is before what was told, the job ran again and now says this instead; so it is with
    the tokens, which are told of a job with logprobs.
    """

    start: int
    text: str
    token_start: int | None = None
    """From so many tokens on; None if no tokens are told."""
    logprobs: tuple[OutputLogprob, ...] = ()


class EndEvent(msgspec.Struct, frozen=True):
    """The last: the job, which has ended."""

    job: Job


JobEvent: TypeAlias = StateEvent | TextEvent | EndEvent


class JobEvents:
    """The events of one job over as many connections as it takes.

    Args:
        job_id: Whose.
        attempts: Says why an attempt failed.
        patience: With failures in a row.
    """

    def __init__(self, job_id: str, attempts: Attempts, patience: Patience) -> None:
        self._job_id = job_id
        self._attempts = attempts
        self._patience = patience
        self._last_id = ""
        self._pause_s = 0.0
        self._buffer = b""

    @property
    def is_over(self) -> bool:
        """Whether the end was told."""
        return self._last_id == _END_ID

    def connect(self) -> Exchange:
        """The request of the next connection."""
        self._buffer = b""
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        path = f"{path_of(self._job_id)}/events"
        return Exchange("GET", path, None, headers, pause_s=self._pause_s)

    def take(self, chunk: bytes) -> Iterator[JobEvent]:
        """The events that a chunk completes."""
        self._buffer += chunk
        *blocks, self._buffer = self._buffer.replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            if event := self._event(block):
                self._patience.renew()
                yield event

    def refused(self, reply: httpx2.Response) -> None:
        """An answer that is no stream. Raises: RequestRefused, ServerUnreachable."""
        if not may_try_again(reply):
            raise refusal(reply)
        self.broke(reply)

    def broke(self, outcome: httpx2.Response | httpx2.TransportError | None) -> None:
        """The connection is over before the end was told. Raises: ServerUnreachable."""
        pause_s = self._patience.pause_s(outcome)
        if pause_s is None:
            why = self._attempts.why(outcome) if outcome else "the stream ends again and again"
            raise ServerUnreachable(f"{self._job_id}: {why}")
        self._pause_s = pause_s

    def _event(self, block: bytes) -> JobEvent | None:
        fields = {
            name: value.removeprefix(b" ")
            for name, _, value in (line.partition(b":") for line in block.split(b"\n"))
            if name
        }
        kind, data = fields.get(b"event", b"").decode(), fields.get(b"data", b"")
        try:
            event = _decoded(kind, data)
        except msgspec.DecodeError as error:
            msg = f"{self._job_id}: an event came that is none of Preble's: {error}"
            raise UnexpectedReply(msg) from None
        if event:
            self._last_id = fields.get(b"id", b"").decode()
        return event


def _decoded(kind: str, data: bytes) -> JobEvent | None:
    """None for a kind that is not known: the api may be newer."""
    if kind == "state":
        return msgspec.json.decode(data, type=StateEvent)
    if kind == "delta":
        return msgspec.json.decode(data, type=TextEvent)
    return EndEvent(msgspec.json.decode(data, type=Job)) if kind == "end" else None
