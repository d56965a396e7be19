"""What a job's log tells to a client that comes back to the stream of its response.

A live stream joins what its api heard meanwhile. The log has all of it, cut as it was told: so each
number that any stream ever told is the end of a delta in one that is made of the log.
"""

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from http import HTTPStatus
from itertools import pairwise
from typing import Final

from preble.broker import Broker
from preble.broker.streams import LOG_START
from preble.messages import JobId, JobView, TokenDelta
from preble_api.errors import HttpError
from preble_api.openai.response_stream import Pieces
from preble_api.transcript import Piece, Transcript

_DIVERGED: Final = (
    "starting_after: the job was run again after its worker failed, and may not say any more what "
    "was streamed before; stream it from its beginning"
)


class JobLog:
    """Reads the log of a job, each part once.

    Args:
        broker: Where it is.
        job_id: Of the job.
    """

    def __init__(self, broker: Broker, job_id: JobId) -> None:
        self._broker = broker
        self._job_id = job_id
        self._cursor = LOG_START

    async def news(self) -> list[TokenDelta]:
        """What came since the last call. Raises: BrokerUnavailable."""
        found: list[TokenDelta] = []
        while (page := await self._broker.streams.read_log(self._job_id, self._cursor)).deltas:
            self._cursor = page.cursor
            found += page.deltas
        return found


async def require_same_text(log: JobLog, view: JobView, seen_chars: int) -> None:
    """Refuse to go on after so many characters, if they may be others now.

    Raises:
        HttpError: 409 `stream_diverged`.
        BrokerUnavailable: If the queue did not answer.
    """
    transcript = Transcript()
    for delta in await log.news():
        transcript.add(delta)
    if view.result is not None:
        transcript.complete(view.result)
    if any(cut.chars < seen_chars for cut in transcript.cuts):
        message, param = _DIVERGED, "starting_after"
        raise HttpError(HTTPStatus.CONFLICT, "stream_diverged", message, param=param)


async def cut_as_told(pieces: Pieces, log: JobLog) -> Pieces:
    """The same pieces, each cut where its log is; all ids of one come with its first part.

    Args:
        pieces: All of a job, from its beginning.
        log: Of the job.
    """
    ends: set[int] = set()
    at = 0
    async with aclosing(pieces) as items:
        async for item in items:
            if not isinstance(item, Piece):
                yield item
                continue
            ends |= {delta.char_at + len(delta.text) for delta in await log.news()}
            first, *others = _cut(item.text, (end - at for end in ends))
            yield Piece(first, item.output_ids, item.logprobs)
            for text in others:
                yield Piece(text, ())
            at += len(item.text)


def _cut(text: str, ends: Iterable[int]) -> Iterator[str]:
    """The parts of a text between these places, those outside of it left out."""
    inside = sorted(end for end in ends if 0 < end < len(text))
    for start, end in pairwise([0, *inside, len(text)]):
        yield text[start:end]
