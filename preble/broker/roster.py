"""The roster: which instances there are, how each stands, and which get no more jobs.

To *drain* an instance is a fact of the pool, not of a life: it outlives scheduler, api and worker,
until somebody resumes it (ADR 0034).
"""

from typing import Protocol

from preble.messages import InstanceId, InstanceState, InstanceView


class Roster(Protocol):
    """The instances of one pool. Every call may raise BrokerUnavailable."""

    async def views(self) -> list[InstanceView]:
        """The registered instances and those that are drained, by id. Cost: O(instances)."""
        ...

    async def drain(self, instance_id: InstanceId) -> bool:
        """Give an instance no more jobs; what waits for it goes back with the next `reap`.

        Returns:
            Whether it is drained now; False if no such instance is registered. Again: the same.
        """
        ...

    async def resume(self, instance_id: InstanceId) -> None:
        """Give an instance jobs again. One that is not drained, or unknown, stays as it is."""
        ...


def state_of(
    *, is_registered: bool, is_alive: bool, is_drained: bool, num_jobs: int, runs_alone: bool
) -> InstanceState:
    """How an instance stands, in a word.

    Args:
        is_registered: Whether it is in the pool.
        is_alive: Whether its lease has not run out.
        is_drained: Whether it gets no more jobs.
        num_jobs: Assigned or running there.
        runs_alone: Whether what runs there is of the quarantine.
    """
    if not is_alive:
        return "lost" if is_registered else "gone"
    if is_drained:
        return "draining" if num_jobs else "drained"
    return "quarantine" if runs_alone else "ready"
