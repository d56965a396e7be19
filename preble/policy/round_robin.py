"""Round robin: each instance in turn, whatever it holds. The baseline of the paper."""

from collections.abc import Sequence

from preble.policy.choice import Choice, Option


class RoundRobin:
    """Takes turns in the order of instance ids. Implements `Policy`."""

    name = "round_robin"

    def __init__(self) -> None:
        self._turn = 0

    def choose(self, options: Sequence[Option], *, prompt_tokens: int) -> Choice:
        """The next instance in turn. Changes: the turn."""
        del prompt_tokens
        option = options[self._turn % len(options)]
        self._turn += 1
        return Choice(option, "turn")
