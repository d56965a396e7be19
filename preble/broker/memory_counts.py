"""The counts of the memory broker; see `counts.py`."""

from preble.broker.memory_state import MemoryState
from preble.messages import PoolStats, RqView


class MemoryCounts:
    """The counts of one pool. Implements `Counts`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def stats(self) -> PoolStats:
        """Counts of the pool."""
        state = self._state
        return PoolStats(
            waiting=state.ingresses.num_jobs,
            assigned=sum(len(instance.queue) for instance in state.instances.values()),
            running=len(state.leases),
            prompt_bytes=state.prompt_bytes,
            instances=len(state.instances),
            totals=dict(state.totals),
            dead_letter_bytes=state.dead_letters.num_bytes,
            ended_bytes=state.ended.num_bytes,
        )

    async def kept_s(self) -> float:
        """For how long jobs that ended are known."""
        return self._state.clock.now_s() - self._state.ended.dropped_until_s

    async def rq_view(self) -> RqView:
        """Nothing: there is no RQ in here."""
        return RqView()
