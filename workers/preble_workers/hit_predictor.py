"""How much of a prompt the engine will take from its KV cache, told when the job is started.

    pages of a prompt   [p0][p1][p2] [p3][p4] [p5] rest
                         resident     expected  computed by the job itself

*Resident* pages are held by the engine: its own events say so. *Expected* pages are computed
by a job that was started before, the **leader**. An engine would compute them twice if both
ran at once, so the follower waits until its leader has its first output token: then the pages
are in the cache, and the prediction comes true.

SGLang's rule sets the most that can be a hit: whole pages, and never the last prompt token,
which must be computed for the first output token.
"""

import asyncio
import contextlib
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from preble.clock import Clock
from preble.messages import TOKEN_BYTES, HitPrediction, Tokens
from preble_workers.block_mapper import BlockMapper

LONGEST_FOLLOW_S: Final = 60.0
"""After so long a follower runs beside its leader, and computes what they share once more."""

EVENT_LAG_S: Final = 1.0
"""How long after a job's end its pages still count as expected, if no event told of them.

Events and answers come on two ways. Seen with SGLang: they are milliseconds apart. A page that
is both stored and evicted within that time is expected a little too long.
"""


@dataclass(frozen=True, slots=True)
class PromptPages:
    """The full pages of a prompt."""

    keys: Sequence[int]
    most_hits: int
    """How many of them, from the first on, can be a hit."""


class Forecast:
    """What is expected of one started job, until it has ended."""

    def __init__(
        self, prediction: HitPrediction, page_keys: Sequence[int], last_expected: int
    ) -> None:
        self.prediction = prediction
        self.page_keys = page_keys
        """Of all full pages of the prompt."""
        self.last_expected = last_expected
        """The index of the last page that another job is to compute; -1 if there is none."""
        self.has_ended = False
        self._is_computed = asyncio.Event()

    def mark_computed(self) -> None:
        """Say that the job's prompt is in the engine's cache, or that it has ended."""
        self._is_computed.set()

    async def computed(self) -> None:
        """Wait for `mark_computed`."""
        await self._is_computed.wait()


class HitPredictor:
    """Predicts the hit tokens of one instance's jobs, in the order of their starts.

    Args:
        mapper: Knows what the engine holds.
        clock: Tells when an event is overdue.
        has_kv_cache: Whether there can be hits at all.
        follow_s: Longest wait for a leader.
    """

    def __init__(
        self,
        mapper: BlockMapper,
        clock: Clock,
        *,
        has_kv_cache: bool = True,
        follow_s: float = LONGEST_FOLLOW_S,
    ) -> None:
        self._mapper = mapper
        self._has_kv_cache = has_kv_cache
        self._follow_s = follow_s
        self._clock = clock
        # Dicts as ordered sets: the first computes the page, should it fail the next does.
        self._computing: dict[int, dict[Forecast, None]] = {}
        self._ended: deque[tuple[float, Forecast]] = deque()

    @property
    def cache_version(self) -> int:
        """While it stays the same, so do all `held_tokens`."""
        return self._mapper.version

    def pages_of(self, prompt: Tokens, cache_salt: str) -> PromptPages:
        """The pages of a prompt; none where there can be no hits. Cost: O(len(prompt))."""
        if not self._has_kv_cache:
            return PromptPages([], 0)
        keys = self._mapper.page_keys(prompt, cache_salt)
        most = max(0, len(prompt) // TOKEN_BYTES - 1) // self._mapper.page_size
        return PromptPages(keys, min(len(keys), most))

    def held_tokens(self, pages: PromptPages) -> int:
        """Hit tokens that the engine holds now. Cost: O(log pages)."""
        return self._resident(pages) * self._mapper.page_size

    def start(self, pages: PromptPages) -> Forecast:
        """Predict one job, and expect from now on what it will compute. `end` comes later.

        Cost: O(pages).
        """
        self._forget_overdue()
        keys = pages.keys
        page_size = self._mapper.page_size
        resident = end = self._resident(pages)
        while end < pages.most_hits and keys[end] in self._computing:
            end += 1
        prediction = HitPrediction(resident * page_size, (end - resident) * page_size)
        forecast = Forecast(prediction, keys, end - 1 if end > resident else -1)
        for key in keys:
            self._computing.setdefault(key, {})[forecast] = None
        return forecast

    async def leader_computed(self, forecast: Forecast) -> None:
        """Wait until the expected pages are there, or too long; at once if there are none.

        Should a leader end without computing them, the next in line is waited for, which may
        be the job itself.
        """
        if forecast.last_expected >= 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._follow_s):
                    await self._leader_computed(forecast)

    async def _leader_computed(self, forecast: Forecast) -> None:
        key = forecast.page_keys[forecast.last_expected]
        while not self._mapper.holds(key):
            leader = next(iter(self._computing[key]))
            if leader is forecast:
                return
            await leader.computed()
            if leader in self._computing[key]:
                return

    def end(self, forecast: Forecast, *, is_computed: bool) -> None:
        """A job has ended, with its prompt computed or not; whoever waits for it goes on.

        A second call does nothing.
        """
        if forecast.has_ended:
            return
        forecast.has_ended = True
        late = [key for key in forecast.page_keys if not self._mapper.holds(key)]
        if is_computed and late:
            self._ended.append((self._clock.now_s(), forecast))
            self._forget(forecast, [key for key in forecast.page_keys if self._mapper.holds(key)])
        else:
            self._forget(forecast, forecast.page_keys)
        forecast.mark_computed()

    def _resident(self, pages: PromptPages) -> int:
        """How many pages the engine holds: those before a held one are held, too."""
        return bisect_left(
            pages.keys, x=True, hi=pages.most_hits, key=lambda key: not self._mapper.holds(key)
        )

    def _forget_overdue(self) -> None:
        overdue_s = self._clock.now_s() - EVENT_LAG_S
        while self._ended and self._ended[0][0] <= overdue_s:
            forecast = self._ended.popleft()[1]
            self._forget(forecast, forecast.page_keys)

    def _forget(self, forecast: Forecast, page_keys: Sequence[int]) -> None:
        for key in page_keys:
            if (computed_by := self._computing.get(key)) is None:
                continue
            computed_by.pop(forecast, None)
            if not computed_by:
                del self._computing[key]
