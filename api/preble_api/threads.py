"""Text work off the event loop: a few threads, fair between requests."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Final, Protocol, TypeVar

PIECE_CHARS: Final = 16_384
"""Text after which a request lets the next one have the thread: about 4 ms of work."""


class Text(Protocol):
    """Work of a known size."""

    @property
    def chars(self) -> int:
        """Characters of text."""
        ...


Work = TypeVar("Work", bound=Text)
Done = TypeVar("Done")


class TextThreads:
    """Threads for work that releases the GIL.

    Of each request at most one piece for each thread stands in the line, so nobody waits
    for the whole of another's list of 1,000 texts.

    Args:
        threads: Pieces worked on at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="text")

    def close(self) -> None:
        """End the threads, after what they are doing."""
        self._pool.shutdown()

    async def map(self, call: Callable[[Work], Done], works: Sequence[Work]) -> list[Done]:
        """`call` on each work, on the threads; what it returned, in the order of the works.

        Raises:
            Exception: What a call raised first; pieces that have not begun never will.
        """
        cut = list(pieces(works))
        if len(cut) == 1:
            return await self._run(call, cut[0])
        results: list[list[Done]] = [[] for _ in cut]
        todo = iter(range(len(cut)))

        async def lane() -> None:
            for number in todo:
                results[number] = await self._run(call, cut[number])

        lanes = [asyncio.ensure_future(lane()) for _ in range(self._threads)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for each in lanes:
                each.cancel()
        return list(chain.from_iterable(results))

    async def run(self, call: Callable[[], Done]) -> Done:
        """One piece of work, on a thread. Raises: what it raises."""
        # The pool's own line is first come, first served.
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def _run(self, call: Callable[[Work], Done], piece: Sequence[Work]) -> list[Done]:
        def work() -> list[Done]:
            return [call(each) for each in piece]

        return await self.run(work)


def pieces(works: Sequence[Work]) -> Iterator[list[Work]]:
    """The works in order, cut into runs of about PIECE_CHARS; one work is never cut."""
    piece: list[Work] = []
    chars = 0
    for work in works:
        piece.append(work)
        chars += work.chars
        if chars >= PIECE_CHARS:
            yield piece
            piece, chars = [], 0
    if piece:
        yield piece
