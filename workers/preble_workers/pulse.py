"""The pulse of an engine: whether it has stepped lately, or hangs."""

from preble.clock import Clock
from preble_workers.engine import Engine


class Pulse:
    """Looks at the steps of one engine.

    Args:
        engine: Whose.
        clock: Tells for how long it has made none.
        stall_s: Seconds without a step after which it hangs.
    """

    def __init__(self, engine: Engine, clock: Clock, *, stall_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self._stall_s = stall_s
        self._steps = -1
        self._stepped_at_s = clock.now_s()

    def is_felt(self) -> bool:
        """Whether the engine's step counter has moved lately."""
        now_s = self._clock.now_s()
        if (steps := self._engine.steps) != self._steps:
            self._steps = steps
            self._stepped_at_s = now_s
        return now_s - self._stepped_at_s < self._stall_s
