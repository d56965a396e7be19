"""How much one pool holds at once, and what a client is told that would have it hold more."""

import math
from collections import deque
from typing import Final, Literal

import msgspec

from preble.errors import QueueFull

Bound = Literal["jobs", "prompt bytes", "ingress queues", "jobs of one tenant"]

BURST_S: Final = 10.0
"""Of a tenant's rate, that it may submit at once after it was silent for as long."""

LONGEST_LIST: Final = 1_000
"""Jobs of the longest list: a tenant that was silent may submit it, however low its rate."""

UNMEASURED_S: Final = 1.0
"""To come back after where nothing is known of how fast the pool drains."""

LONGEST_RETRY_AFTER_S: Final = 120
"""OpenAI's client gives up at once when told to wait longer."""

_MEASURED_S: Final = 30.0
_ROOM: Final = 0.05
"""Of the bound on jobs, that is to be free when a refused client comes back: it is not alone."""

_LATER: Final = "submit again later"
_FEWER_TENANTS: Final = (
    "there is one for each priority and tenant with jobs waiting: use one of those, submit "
    "again later, or raise PREBLE_MAX_INGRESSES"
)


class Allowance(msgspec.Struct, frozen=True):
    """What the tenant of a batch that was taken may still submit; of several, the least."""

    most_jobs: int
    """After a silence."""
    left_jobs: int
    full_in_s: float | None
    """Until it may submit as many as ever; None where no rate is set."""


class Bounds(msgspec.Struct, frozen=True):
    """Most jobs that have not ended, bytes that were sent with them, and ingress queues with jobs.

    And what is kept of those that have ended.

    Args:
        max_jobs: Of the pool.
        max_prompt_bytes: Likewise; of all that was sent (`sent.py`), most of which are prompts.
        max_ingresses: Likewise.
        max_tenant_jobs: Of each tenant; 0 for any number.
        tenant_jobs_per_s: That each tenant may submit; 0 for any number.
        max_dead_letter_bytes: Of prompts that failed jobs keep, beside those of the others.
        max_ended_bytes: Of jobs that have ended, with their results.
    """

    max_jobs: int
    max_prompt_bytes: int
    max_ingresses: int
    max_tenant_jobs: int = 0
    tenant_jobs_per_s: float = 0.0
    max_dead_letter_bytes: int = 1 << 28
    max_ended_bytes: int = 1 << 30

    @property
    def tenant_burst_jobs(self) -> float:
        """Most that a tenant may submit at once."""
        return max(self.tenant_jobs_per_s * BURST_S, float(LONGEST_LIST))

    @property
    def are_tenants_bound(self) -> bool:
        """Whether there is a bound of each tenant."""
        return self.tenant_jobs_per_s > 0 or self.max_tenant_jobs > 0

    def allowance(self, left_jobs: float, *, full_in_s: float) -> Allowance:
        """What a tenant may still submit.

        Args:
            left_jobs: By whichever bound leaves less.
            full_in_s: Until its rate holds it back no more.
        """
        burst = self.tenant_burst_jobs if self.tenant_jobs_per_s else math.inf
        most = min(burst, self.max_tenant_jobs or math.inf)
        rate_s = full_in_s if self.tenant_jobs_per_s else None
        return Allowance(int(most), max(0, math.floor(left_jobs)), rate_s)

    def refusal(self, bound: Bound, *, ended_per_s: float | None = None) -> QueueFull:
        """What a submission is told that would pass a bound.

        Args:
            bound: Which.
            ended_per_s: How fast the pool's jobs end, if that is known.
        """
        most = {
            "jobs": self.max_jobs,
            "prompt bytes": self.max_prompt_bytes,
            "ingress queues": self.max_ingresses,
            "jobs of one tenant": self.max_tenant_jobs,
        }
        advice = _FEWER_TENANTS if bound == "ingress queues" else _LATER
        message = f"the pool holds its {most[bound]} {bound}; {advice}"
        return QueueFull(message, retry_after_s=self._retry_after_s(ended_per_s))

    def too_fast(self, wait_s: float) -> QueueFull:
        """What a tenant is told that submits faster than it may.

        Args:
            wait_s: Until it may submit these jobs.
        """
        message = f"a tenant may submit {self.tenant_jobs_per_s:g} jobs a second; {_LATER}"
        return QueueFull(message, retry_after_s=wait_s)

    def _retry_after_s(self, ended_per_s: float | None) -> float:
        if ended_per_s is None:
            return UNMEASURED_S
        room_s = self.max_jobs * _ROOM / max(ended_per_s, 1e-9)
        return min(max(UNMEASURED_S, room_s), LONGEST_RETRY_AFTER_S)


class DrainRate:
    """How fast jobs end, from how many had ended whenever somebody looked."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        """Looks that are remembered."""
        return len(self._seen)

    def observe(self, num_ended: int, *, now_s: float) -> float | None:
        """So many have ended by now.

        Returns:
            Jobs a second since the oldest look of the last 30 s that is at least 1 s old; None
            if there is none.
        """
        seen = self._seen
        if not seen or now_s - seen[-1][0] >= 1.0:
            seen.append((now_s, num_ended))
        while now_s - seen[0][0] > _MEASURED_S:
            seen.popleft()
        elapsed_s = now_s - seen[0][0]
        return (num_ended - seen[0][1]) / elapsed_s if elapsed_s >= 1.0 else None
