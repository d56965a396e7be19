"""What many who look at once are told alike: asked for once in a while, and bounded."""

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from preble.clock import Clock
from preble_api.remembered import Remembered

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


class Shared(Generic[_K, _T]):
    """An answer for each of several questions, the latest ones.

    Args:
        ask: Finds the answer to one.
        clock: Tells how old it is.
        for_s: Seconds for which it stands.
        most: Questions whose answers are kept.
    """

    def __init__(
        self, ask: Callable[[_K], Coroutine[Any, Any, _T]], clock: Clock, *, for_s: float,
        most: int,
    ) -> None:  # fmt: skip
        self._ask = ask
        self._clock = clock
        self._for_s = for_s
        self._most = most
        self._answers: OrderedDict[_K, Remembered[_T]] = OrderedDict()

    async def get(self, question: _K) -> _T:
        """The answer. Raises: what asking raises."""
        known = self._answers.get(question)
        if known is None:
            known = Remembered(lambda: self._ask(question), self._clock, for_s=self._for_s)
            self._answers[question] = known
        self._answers.move_to_end(question)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)
        return await known.get()
