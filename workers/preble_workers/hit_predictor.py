"""How much of a prompt the engine will take from its KV cache, told when the job is claimed.

    pages of a prompt   [p0][p1][p2] [p3][p4] [p5] rest
                         resident     expected  computed by the job itself

*Resident* pages are held by the engine: its own events say so. *Expected* pages are computed
by a job that was claimed before, the **leader**. An engine would compute them twice if both
ran at once, so the follower waits until its leader has its first output token: then the pages
are in the cache, and the prediction comes true.

SGLang's rule sets the most that can be a hit: whole pages, and never the last prompt token,
which must be computed for the first output token.
"""

import asyncio
from bisect import bisect_left
from collections import deque
from typing import Final

from preble.clock import Clock
from preble.messages import TOKEN_BYTES, HitPrediction, Tokens
from preble_workers.block_mapper import BlockMapper

EVENT_LAG_S: Final = 1.0
"""How long after a job's end its pages still count as expected, if no event told of them.

Events and answers come on two ways. Seen with SGLang: they are milliseconds apart.
"""


class Forecast:
    """What is expected of one claimed job, until it has ended."""

    def __init__(
        self, prediction: HitPrediction, leader: "Forecast | None", page_keys: list[int]
    ) -> None:
        self.prediction = prediction
        self.page_keys = page_keys
        """Of the pages that the job computes itself."""
        self._leader = leader
        self._is_computed = asyncio.Event()

    def mark_computed(self) -> None:
        """Say that the job's prompt is in the engine's cache, or never will be."""
        self._is_computed.set()
        self._leader = None

    async def leader_computed(self) -> None:
        """Wait until the expected pages are there; returns at once if there are none."""
        if self._leader is not None:
            await self._leader._is_computed.wait()  # noqa: SLF001  # one of its own kind
            self._leader = None


class HitPredictor:
    """Predicts the hit tokens of one instance's jobs, in the order of their claims.

    Args:
        mapper: Knows what the engine holds.
        clock: Tells when an event is overdue.
    """

    def __init__(self, mapper: BlockMapper, clock: Clock) -> None:
        self._mapper = mapper
        self._clock = clock
        self._computing: dict[int, Forecast] = {}
        """By page key, the job that computes the page."""
        self._ended: deque[tuple[float, Forecast]] = deque()

    def claim(self, prompt: Tokens, cache_salt: str) -> Forecast:
        """Predict one job, and expect from now on what it will compute. `end` comes later.

        Cost: O(len(prompt)).
        """
        self._forget_overdue()
        keys = self._mapper.page_keys(prompt, cache_salt)
        page_size = self._mapper.page_size
        most = min(len(keys), (len(prompt) // TOKEN_BYTES - 1) // page_size)
        resident = bisect_left(
            keys, x=True, hi=most, key=lambda page_key: not self._mapper.holds(page_key)
        )
        end = resident
        while end < most and keys[end] in self._computing:
            end += 1
        leader = self._computing[keys[end - 1]] if end > resident else None
        prediction = HitPrediction(resident * page_size, (end - resident) * page_size)
        forecast = Forecast(prediction, leader, keys[end:])
        for key in forecast.page_keys:
            self._computing.setdefault(key, forecast)
        return forecast

    def end(self, forecast: Forecast, *, is_computed: bool) -> None:
        """A job has ended, with its prompt computed or not; whoever waits for it goes on."""
        forecast.mark_computed()
        if is_computed:
            self._ended.append((self._clock.now_s(), forecast))
        else:
            self._forget(forecast)

    def _forget_overdue(self) -> None:
        overdue_s = self._clock.now_s() - EVENT_LAG_S
        while self._ended and self._ended[0][0] <= overdue_s:
            self._forget(self._ended.popleft()[1])

    def _forget(self, forecast: Forecast) -> None:
        for key in forecast.page_keys:
            if self._computing.get(key) is forecast:
                del self._computing[key]
