"""The requests of an engine that decode: one counter of steps stands for the progress of all.

Each decode step gives every one of them a token. So a request is known to end at a certain
step from the moment it begins to decode, and what all of them have in common is kept as sums
that many steps change at once.
"""

from heapq import heappop, heappush

from preble.simulator.run import Run


class Decodes:
    """Requests by the step with which they end. All operations but `pop_ended` are O(log n)."""

    def __init__(self) -> None:
        self.num = 0
        self.context_tokens = 0
        """Of all together, in the step that has begun last."""
        self._step = 0
        """Number of the step that has begun last."""
        self._ends: list[tuple[int, int, Run]] = []
        """Heap of (last step, admission, run); an entry is stale if the run was admitted anew."""
        self._sum_of_ends = 0

    @property
    def promised_tokens(self) -> int:
        """KV that they need beyond the step that has begun."""
        return self._sum_of_ends - self.num * self._step

    @property
    def steps_until_end(self) -> int:
        """Steps until one of them ends, with the one that has begun; there must be one."""
        while self._ends[0][2].admission != self._ends[0][1]:
            heappop(self._ends)
        return self._ends[0][0] - self._step + 1

    def add(self, run: Run) -> None:
        """A run decodes from the next step on, one with output left."""
        run.last_step = self._step + run.request.output_tokens - run.produced_tokens
        heappush(self._ends, (run.last_step, run.admission, run))
        self.num += 1
        self.context_tokens += run.computed_tokens
        self._sum_of_ends += run.last_step

    def begin_steps(self, num_steps: int) -> None:
        """So many more steps have begun."""
        self._step += num_steps
        self.context_tokens += self.num * num_steps

    def pop_ended(self) -> list[Run]:
        """Take out the runs that end with the step that has begun, in order of admission."""
        ended: list[Run] = []
        while self._ends and self._ends[0][0] <= self._step:
            _, admission, run = heappop(self._ends)
            if run.admission == admission:
                self.take_out(run)
                ended.append(run)
        return ended

    def take_out(self, run: Run) -> None:
        """A run stops here; what it has produced and computed is written down in it."""
        run.produced_tokens = run.request.output_tokens - run.last_step + self._step
        run.computed_tokens = run.request.prompt_tokens + run.produced_tokens - 1
        self.num -= 1
        self.context_tokens -= run.computed_tokens
        self._sum_of_ends -= run.last_step
