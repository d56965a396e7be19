"""How fast tenants submit: a token bucket for each, as ADMIT keeps it."""

import math
from collections.abc import Iterable, Mapping

from preble.broker.bounds import Bounds


class TenantRates:
    """Buckets of those that submitted lately; a full one is forgotten.

    Args:
        bounds: Their rate and size.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._per_s = bounds.tenant_jobs_per_s
        self._burst = bounds.tenant_burst_jobs
        self._buckets: dict[str, tuple[float, float]] = {}
        """Jobs left, and when that was so."""

    def __len__(self) -> int:
        """Tenants that are remembered."""
        return len(self._buckets)

    def wait_s(self, jobs: Mapping[str, int], *, now_s: float) -> float:
        """Seconds until all tenants may submit so many jobs; 0 if they may now."""
        if not self._per_s:
            return 0.0
        lacking = (
            min(number, self._burst) - self.left(tenant, now_s) for tenant, number in jobs.items()
        )
        return max(0.0, *lacking) / self._per_s if jobs else 0.0

    def take(self, jobs: Mapping[str, int], *, now_s: float) -> None:
        """They submit them. Of more than a bucket holds, the rest is owed."""
        if self._per_s:
            for tenant, number in jobs.items():
                self._buckets[tenant] = (self.left(tenant, now_s) - number, now_s)
            self._buckets = {
                tenant: bucket
                for tenant, bucket in self._buckets.items()
                if self.left(tenant, now_s) < self._burst
            }

    def left(self, tenant: str, now_s: float) -> float:
        """Jobs that a tenant may submit now; below 0 for what is owed, infinite without a rate."""
        if not self._per_s:
            return math.inf
        left, at_s = self._buckets.get(tenant, (self._burst, now_s))
        return min(self._burst, left + (now_s - at_s) * self._per_s)

    def full_in_s(self, tenants: Iterable[str], *, now_s: float) -> float:
        """Seconds until all these tenants may submit as many as ever."""
        if not self._per_s:
            return 0.0
        return max((self._burst - self.left(each, now_s)) / self._per_s for each in tenants)
