"""An answer that anybody may ask for, found once in a while, however often that is asked."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from preble.clock import Clock

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """One answer, or the error in its place; those who ask at once wait for the same.

    Args:
        ask: Finds the answer.
        clock: Tells how old it is.
        for_s: Seconds after which the next who asks has it found anew.
    """

    def __init__(
        self, ask: Callable[[], Coroutine[Any, Any, _T]], clock: Clock, *, for_s: float
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._for_s = for_s
        self._asked_at_s = 0.0
        self._answer: asyncio.Task[_T] | None = None

    async def get(self) -> _T:
        """The answer. Raises: what asking raises."""
        now_s = self._clock.now_s()
        if self._answer is None or now_s - self._asked_at_s >= self._for_s:
            self._asked_at_s = now_s
            self._answer = asyncio.create_task(self._ask())
            self._answer.add_done_callback(_taken_note_of)
        return await asyncio.shield(self._answer)  # one who leaves takes it from nobody

    def forget(self) -> None:
        """What was asked about has changed: the next who asks has it found anew."""
        self._answer = None


def _taken_note_of(answer: asyncio.Task[_T]) -> None:
    """An error is told to those who wait; there may be none left."""
    if not answer.cancelled():
        answer.exception()
