"""Counts: how much there is in a pool, for those who watch it."""

from typing import Protocol

from preble.messages import PoolStats, RqView


class Counts(Protocol):
    """The counts of one pool. Every call may raise BrokerUnavailable, and says so here once."""

    async def stats(self) -> PoolStats:
        """Counts of the pool. Cost: O(instances + ingress queues)."""
        ...

    async def kept_s(self) -> float:
        """For how long jobs that ended are known, as far as `max_ended_bytes` says.

        What ended longer ago may have been dropped. Infinity if nothing was.
        """
        ...

    async def rq_view(self) -> RqView:
        """What RQ's records say; nothing where there is no RQ. Cost: as `stats`."""
        ...
