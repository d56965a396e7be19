"""Custody: which api process looks after something that lives outside the queue, such as a batch.

It spares work, and is no fence: whoever lost it may not know for a moment. What must not happen
twice is made safe where it happens (ADR 0027).
"""

from typing import Protocol


class Custody(Protocol):
    """Custody of names, each held by one holder at a time, until it expires."""

    async def take(self, name: str, holder: str, *, ttl_s: float) -> bool:
        """Take or renew custody; False while another has it. Raises: BrokerUnavailable."""
        ...

    async def give_up(self, name: str, holder: str) -> None:
        """Let others take it at once, if it is held. Raises: BrokerUnavailable."""
        ...
