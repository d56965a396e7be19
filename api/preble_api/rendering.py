"""Answers with many logprobs are made on a thread, all others on the spot.

A logprob costs about a microsecond to be put into words, and a result may have 65,536.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from preble.messages import JobView
from preble.tokenizer import TokenTexts
from preble_api.logprobs import number_of
from preble_api.threads import TextThreads
from preble_api.transcript import Piece

FEW_LOGPROBS: Final = 1_024
"""For which nobody else need wait for long."""

Made = TypeVar("Made")


class Rendering:
    """Makes answers.

    Args:
        threads: Where those with many logprobs are made.
        token_texts: Of the pool's tokenizer.
    """

    def __init__(self, threads: TextThreads, token_texts: TokenTexts) -> None:
        self._threads = threads
        self.token_texts = token_texts

    async def of(self, told: Sequence[Piece | JobView | None], make: Callable[[], Made]) -> Made:
        """What `make` makes of the jobs, or of pieces of them. Raises: what it raises."""
        if sum(map(_number, told)) <= FEW_LOGPROBS:
            return make()
        return await self._threads.run(make)


def _number(told: Piece | JobView | None) -> int:
    output = told.result if isinstance(told, JobView) else told
    return number_of(output.logprobs) if output is not None else 0
