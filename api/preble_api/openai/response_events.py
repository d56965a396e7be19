"""The events of a response's stream, numbered by what they tell and not by when.

    0 response.created     1 response.queued            2 response.in_progress
    3 output_item.added    4 content_part.added
    4 + p                  output_text.delta that brings the text to p characters
    4 + n + 1 … n + 4      text, part, item and response are done; the text has n characters

So each event has the same number in every stream of the response, from whichever api, however
its text was cut into pieces: what follows a number is what a client that saw it lacks. Numbers
grow, with gaps. A token's logprob goes with the character that it ends. Nothing but the request,
the output and the job's end goes in. (ADR 0026.)
"""

from collections.abc import Iterator
from typing import Any, Final

from preble.messages import JobId, JobView
from preble.tokenizer import TokenTexts
from preble_api.openai.asked import Echo
from preble_api.openai.logprobs import PlacedLogprobs
from preble_api.openai.response_schemas import OutputMessage, OutputText, Response
from preble_api.openai.responses import message_id_of, response_of, unfinished
from preble_api.transcript import Piece

Event = dict[str, Any]

BEFORE_TEXT: Final = 4
"""Number of the last event before the text."""

_DONE: Final = 4


class ResponseEvents:
    """Makes the events of one response, in order, as its job goes on.

    Args:
        echo: Of its request.
        job_id: Its job.
        token_texts: Of the pool's tokenizer.
        after: Number of the last event that the client has; -1 for none.
    """

    def __init__(
        self, echo: Echo, job_id: JobId, token_texts: TokenTexts, *, after: int = -1
    ) -> None:
        self._echo = echo
        self._job_id = job_id
        self._token_texts = token_texts
        self._logprobs = PlacedLogprobs(token_texts)
        self._after = after
        self._num_chars = 0
        self._has_begun = False
        self._place = {"item_id": message_id_of(job_id), "output_index": 0, "content_index": 0}

    def opening(self) -> Iterator[Event]:
        """It was written to the queue."""
        queued = unfinished(self._echo, self._job_id, "queued")
        yield from self._lacking(0, "response.created", response=queued)
        yield from self._lacking(1, "response.queued", response=queued)

    def more(self, piece: Piece) -> Iterator[Event]:
        """Its output goes on."""
        yield from self._begin()
        seen_chars = max(0, self._after - BEFORE_TEXT)
        known_chars = max(0, seen_chars - self._num_chars)
        self._num_chars += len(piece.text)
        if self._echo.top_logprobs is not None:
            self._logprobs.add(piece)
            self._logprobs.take(seen_chars)
        if lacking := piece.text[known_chars:]:
            number, kind = BEFORE_TEXT + self._num_chars, "response.output_text.delta"
            logprobs = self._logprobs.take(self._num_chars)
            yield self._event(number, kind, delta=lacking, logprobs=logprobs, **self._place)

    def closing(self, view: JobView) -> Iterator[Event]:
        """Its job has ended."""
        response = response_of(self._echo, view, self._token_texts)
        if view.result is None:
            yield self._event(self._last_number(), "response.failed", response=response)
            return
        yield from self._begin()
        yield from self._done(response)

    def broken_off(self, error: Event) -> Event:
        """The stream ends before its job; numbered as the event before, as it is none of them."""
        number = max(self._after, BEFORE_TEXT + self._num_chars if self._has_begun else 1)
        told = {name: error[name] for name in ("code", "message", "param")}
        # OpenAI's own client knows the event, and raises for the field `error`.
        return self._event(number, "error", **told, error=error)

    def _begin(self) -> Iterator[Event]:
        if self._has_begun:
            return
        self._has_begun = True
        in_progress = unfinished(self._echo, self._job_id, "in_progress")
        yield from self._lacking(2, "response.in_progress", response=in_progress)
        item = OutputMessage(message_id_of(self._job_id), "in_progress", [])
        yield from self._lacking(3, "response.output_item.added", item=item, output_index=0)
        part = OutputText("")
        yield from self._lacking(4, "response.content_part.added", part=part, **self._place)

    def _done(self, response: Response) -> Iterator[Event]:
        [item] = response.output
        [part] = item.content
        first = BEFORE_TEXT + len(part.text) + 1
        told = {"text": part.text, "logprobs": part.logprobs, **self._place}
        yield from self._lacking(first, "response.output_text.done", **told)
        yield from self._lacking(first + 1, "response.content_part.done", part=part, **self._place)
        yield from self._lacking(first + 2, "response.output_item.done", item=item, output_index=0)
        yield from self._lacking(first + 3, f"response.{response.status}", response=response)

    def _last_number(self) -> int:
        """After all that was told; also to a client that saw text of which nothing is left."""
        return max(BEFORE_TEXT + self._num_chars + _DONE, self._after + 1)

    def _lacking(self, number: int, kind: str, **fields: object) -> Iterator[Event]:
        """The event, if the client has it not."""
        if number > self._after:
            yield self._event(number, kind, **fields)

    def _event(self, number: int, kind: str, **fields: object) -> Event:
        return {"type": kind, "sequence_number": number, **fields}
