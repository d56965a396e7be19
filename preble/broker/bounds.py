"""How much one pool holds at once, and what a client is told that would have it hold more."""

from typing import Final, Literal

import msgspec

from preble.errors import QueueFull

Bound = Literal["jobs", "prompt bytes", "ingress queues"]

_RETRY_AFTER_S: Final = 1.0
_LATER: Final = "submit again later"
_FEWER_TENANTS: Final = (
    "there is one for each priority and tenant with jobs waiting: use one of those, submit "
    "again later, or raise PREBLE_MAX_INGRESSES"
)


class Bounds(msgspec.Struct, frozen=True):
    """Most jobs that have not ended, bytes of their prompts, and ingress queues with jobs."""

    max_jobs: int
    max_prompt_bytes: int
    max_ingresses: int

    def refusal(self, bound: Bound) -> QueueFull:
        """What a submission is told that would pass a bound."""
        most = {
            "jobs": self.max_jobs,
            "prompt bytes": self.max_prompt_bytes,
            "ingress queues": self.max_ingresses,
        }
        advice = _FEWER_TENANTS if bound == "ingress queues" else _LATER
        message = f"the pool holds its {most[bound]} {bound}; {advice}"
        return QueueFull(message, retry_after_s=_RETRY_AFTER_S)
