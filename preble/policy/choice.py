"""What a policy chooses from, and what it answers."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from preble.instance import Instance


class Option(msgspec.Struct, frozen=True):
    """One instance that could take the job."""

    instance: Instance
    hit_tokens: int
    """Prompt tokens held or expected there."""
    load_s: float
    """L: seconds of GPU time placed there in the window."""
    prefill_s: float
    """P: predicted seconds to prefill what the prompt misses there."""

    @property
    def load_cost_s(self) -> float:
        """Load cost L + P."""
        return self.load_s + self.prefill_s


class Choice(msgspec.Struct, frozen=True):
    """The option a policy takes, and why."""

    option: Option
    reason: str


class Policy(Protocol):
    """A rule that picks an instance."""

    name: str

    def choose(self, options: Sequence[Option], *, prompt_tokens: int) -> Choice:
        """Pick one of the options.

        Args:
            options: Every live instance, ordered by instance id; not empty.
            prompt_tokens: Length of the prompt.
        """
        ...
