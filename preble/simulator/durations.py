"""How long an engine's steps take: the cost model, at the speed of one instance."""

from collections.abc import Sequence

from preble.cost_model import CostModel
from preble.simulator.decodes import Decodes
from preble.simulator.run import Run


class Durations:
    """Seconds on one instance, `speed` times faster than predicted."""

    def __init__(self, cost_model: CostModel, *, speed: float) -> None:
        self.speed = speed
        self._cost_model = cost_model

    def decodes_s(self, decodes: Decodes, num_steps: int) -> float:
        """So many decode steps, the first of which has begun."""
        run_s = self._cost_model.decode_run_s(decodes.num, decodes.context_tokens, num_steps)
        return run_s / self.speed

    def decode_steps_within(self, decodes: Decodes, seconds: float) -> int:
        """Whole decode steps that end within a time, from the one that has begun on."""
        return self._cost_model.decode_steps_within(
            decodes.num, decodes.context_tokens, seconds * self.speed
        )

    def step_s(self, shares: Sequence[tuple[Run, int]], decodes: Decodes | None) -> float:
        """A step of so many tokens of each prefill and, perhaps, a token of all that decode."""
        num = new_tokens = decodes.num if decodes else 0
        context_tokens = decodes.context_tokens if decodes else 0
        long_ms = 0.0
        for run, tokens in shares:
            context = run.computed_tokens + tokens
            new_tokens += tokens
            context_tokens += context
            long_ms += self._cost_model.long_request_ms(tokens, context)
        step_s = self._cost_model.totals_s(new_tokens, context_tokens, num + len(shares), long_ms)
        return step_s / self.speed
