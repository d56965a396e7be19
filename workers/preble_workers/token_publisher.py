"""Tokens on their way from the engine to those who follow the jobs.

    engine ─▶ token streams ─ what gathered ─▶ one entry for each inbox, one publish at a time
              one a job

The engine and the jobs never wait for it: what comes while a publish is under way, or while
the queue is away, goes out together next. All tokens of one engine step so make one entry. What
gathers is no more than the outputs of the jobs that run; what a job has not said when it ends
is in its result.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from preble.broker.insisting import LONGEST_PAUSE_S, insist
from preble.broker.streams import Streams
from preble.errors import BrokerError
from preble.messages import ClaimedJob, TokenDelta, TokenLogprob
from preble_workers.detokenizer import Decode, Detokenizer
from preble_workers.stop_guard import StopGuard

_log = logging.getLogger(__name__)


class TokenStream:
    """What one execution has made and not yet told.

    Args:
        job: Whose execution.
        decode: For an engine that speaks token ids only.
        on_news: Called when there is something to tell.
    """

    def __init__(
        self, job: ClaimedJob, decode: Decode, on_news: Callable[["TokenStream"], None]
    ) -> None:
        self.spec = job.spec
        self._lease = job.lease
        self._on_news = on_news
        self._detokenizer = Detokenizer(decode)
        self._guard = StopGuard(job.spec.sampling.stop)
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._text: list[str] = []
        self._has_text = True
        """Whether the engine speaks text."""
        self._token_at = 0
        self._char_at = 0

    def add(self, ids: Sequence[int], text: str | None, logprobs: Sequence[TokenLogprob]) -> None:
        """The engine made these tokens, and this text if it speaks text.

        Args:
            ids: The new tokens.
            text: None if the engine speaks token ids only.
            logprobs: Of each of them, if they were asked for.
        """
        self._ids += ids
        self._logprobs += logprobs
        self._has_text = text is not None
        self._text.append(text or "")
        self._on_news(self)

    def take(self) -> TokenDelta:
        """All that was not told. Cost: O(new tokens)."""
        ids, said = tuple(self._ids), "".join(self._text)
        text = self._guard.add(said if self._has_text else self._detokenizer.add(ids))
        delta = TokenDelta(
            self._lease.job_id, self._lease.execution_id, self._token_at, self._char_at, ids, text,
            tuple(self._logprobs),
        )  # fmt: skip
        self._token_at += len(ids)
        self._char_at += len(text)
        self._ids, self._text, self._logprobs = [], [], []
        return delta


class TokenPublisher:
    """Publishes what the executions of one worker make. `run` once.

    Args:
        streams: Where to.
        decode: Text of token ids.
    """

    def __init__(self, streams: Streams, decode: Decode) -> None:
        self._streams = streams
        self._decode = decode
        self._fresh: dict[TokenStream, None] = {}
        self._news = asyncio.Event()

    def begin(self, job: ClaimedJob) -> TokenStream | None:
        """The stream of an execution; None if nobody is to hear of it."""
        spec = job.spec
        if not (spec.is_logged or (spec.is_streamed and spec.inbox)):
            return None
        return TokenStream(job, self._decode, self._hear)

    def end(self, stream: TokenStream) -> None:
        """The execution has ended: what it has not told goes with its result."""
        self._fresh.pop(stream, None)

    async def run(self) -> None:
        """Publish for ever. What is refused is left out: the results tell the same."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._publish(*self._gather())
            except BrokerError as error:
                _log.warning("tokens are not told: %s", error)
                await asyncio.sleep(LONGEST_PAUSE_S)

    async def _publish(
        self, by_inbox: dict[str, list[TokenDelta]], logged: list[TokenDelta]
    ) -> None:
        if by_inbox or logged:
            await insist(lambda: self._streams.publish(by_inbox, logged))

    def _hear(self, stream: TokenStream) -> None:
        self._fresh[stream] = None
        self._news.set()

    def _gather(self) -> tuple[dict[str, list[TokenDelta]], list[TokenDelta]]:
        """All that is to be told: for each inbox, and for the logs."""
        streams, self._fresh = self._fresh, {}
        by_inbox: dict[str, list[TokenDelta]] = {}
        logged: list[TokenDelta] = []
        for stream in streams:
            delta = stream.take()
            if stream.spec.is_streamed and stream.spec.inbox:
                by_inbox.setdefault(stream.spec.inbox, []).append(delta)
            if stream.spec.is_logged:
                logged.append(delta)
        return by_inbox, logged
