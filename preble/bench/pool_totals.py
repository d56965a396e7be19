"""What a stack has done so far, as its api's metrics tell: no job is asked for one by one."""

import time
from typing import Final

import httpx2
import msgspec

from preble.client import ServerUnreachable

POLL_S: Final = 0.2
"""A page costs the api about a millisecond, and makespans are minutes."""

TIMEOUT_S: Final = 60.0
"""An api that takes in a large batch may be slow to answer."""

_PREFIX: Final = "preble_pool_"


class PoolTotals(msgspec.Struct, frozen=True):
    """Of all jobs that have ended since the stack began."""

    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    hit_tokens: int = 0
    """Delivered by engines."""

    @property
    def ended(self) -> int:
        """Jobs completed or failed."""
        return self.completed + self.failed

    @property
    def hit_rate(self) -> float:
        """Of the jobs that completed."""
        return self.hit_tokens / max(1, self.prompt_tokens)


def totals_of(page: str) -> PoolTotals:
    """The totals on a page of metrics; what is not there counts as 0."""
    rows = (line.rpartition(" ") for line in page.splitlines() if line.startswith(_PREFIX))
    values = {name: int(float(value)) for name, _, value in rows if "{" not in name}
    names = ("jobs_completed", "jobs_failed", "prompt_tokens", "hit_tokens_delivered")
    return PoolTotals(*(values.get(f"{_PREFIX}{name}_total", 0) for name in names))


def await_ended(url: str, num_jobs: int, *, until_s: float) -> PoolTotals:
    """Wait until so many jobs have ended, or until `time.monotonic` says so.

    Args:
        url: Of the api.
        num_jobs: Since the stack began.
        until_s: When to give up.

    Returns:
        What was done by then; `POLL_S` late at most.

    Raises:
        ServerUnreachable: If the api does not answer.
    """
    with httpx2.Client(base_url=url, trust_env=False, timeout=TIMEOUT_S) as http:
        while True:
            totals = totals_of(_page(http))
            if totals.ended >= num_jobs or time.monotonic() >= until_s:
                return totals
            time.sleep(POLL_S)


def _page(http: httpx2.Client) -> str:
    try:
        return http.get("/metrics").text
    except httpx2.TransportError as error:
        msg = f"{http.base_url} does not tell its metrics: {error}"
        raise ServerUnreachable(msg) from error
