"""Streams of chats and completions: pieces of text, as jobs make them, into events."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial

from preble.errors import PrebleError
from preble.messages import JobResult, JobView
from preble_api.merging import Item, merged
from preble_api.openai.chunks import Chunks
from preble_api.openai.desk import Taken
from preble_api.openai.results import CompletionUsage, usage_of
from preble_api.openai.sse import COMMENT, DONE, error_fields, event
from preble_api.rendering import Rendering
from preble_api.results import result_of
from preble_api.waits import Piece, Waits


class CompletionStream:
    """One answer of a chat or a completion, event by event.

    Args:
        waits: Where the pieces come from.
        taken: The request.
        chunks: Of its dialect.
        rendering: Makes them.
    """

    def __init__(self, waits: Waits, taken: Taken, chunks: Chunks, rendering: Rendering) -> None:
        self._waits = waits
        self._rendering = rendering
        self._taken = taken
        self._asked = taken.asked
        self._chunks = chunks
        self._tokens: dict[int, int] = {}
        """Of each choice that has begun, how many there are."""
        self._results: list[JobResult] = []

    async def events(self) -> AsyncGenerator[bytes]:
        """The events; what goes wrong is the last but one."""
        try:
            async with aclosing(self._items()) as items:
                async for index, item in items:
                    for made in await self._rendering.of([item], partial(self._told, index, item)):
                        yield made
            if self._asked.has_usage:
                yield event(self._chunks.last(usage_of(*self._results)))
        except PrebleError as error:
            yield event({"error": error_fields(error)}, "error")
        yield DONE

    def _items(self) -> AsyncGenerator[tuple[int, Item]]:
        cancel_if_gone = self._taken.cancel_if_gone
        return merged(
            [
                self._waits.pieces(job_id, cancel_if_gone=cancel_if_gone)
                for job_id in self._taken.job_ids
            ]
        )

    def _told(self, index: int, item: Item) -> list[bytes]:
        """Events that tell of an item. Raises: HttpError if its job failed."""
        return list(self._events_of(index, item))

    def _events_of(self, index: int, item: Item) -> Iterator[bytes]:
        if item is None:
            yield COMMENT
            return
        result = result_of(item) if isinstance(item, JobView) else None
        yield from self._opening(index)
        if isinstance(item, Piece):
            self._tokens[index] += len(item.output_ids)
            if item.text or item.logprobs:
                yield self._chunk(index, self._chunks.more(index, item))
        elif result:
            self._results.append(result)
            yield self._chunk(index, self._chunks.closing(index, result.finish_reason))

    def _opening(self, index: int) -> Iterator[bytes]:
        """Before the first text, and no earlier: some clients time the first chunk."""
        if index in self._tokens:
            return
        self._tokens[index] = 0
        if choice := self._chunks.opening(index):
            yield self._chunk(index, choice)

    def _chunk(self, index: int, choice: dict[str, object]) -> bytes:
        usage = self._usage(index) if self._asked.has_running_usage else None
        return event(self._chunks.chunk(choice, usage))

    def _usage(self, index: int) -> CompletionUsage:
        prompt, output = self._taken.submissions[index].spec.prompt_tokens, self._tokens[index]
        return CompletionUsage(prompt, output, prompt + output)
