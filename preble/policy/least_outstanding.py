"""Least outstanding: the instance with the fewest jobs that have not ended there.

Blind to caches and prompt lengths; a baseline, known to the paper's release as `lor`. Ties
go to the lower instance id, so that the same options always give the same choice.
"""

from collections.abc import Sequence

from preble.policy.choice import Choice, Option


class LeastOutstanding:
    """Counts jobs assigned and running, never what they cost. Stateless. Implements `Policy`."""

    name = "least_outstanding"

    def choose(self, options: Sequence[Option], *, prompt_tokens: int) -> Choice:
        """The instance with the fewest jobs. Cost: O(instances)."""
        del prompt_tokens
        return Choice(min(options, key=_outstanding), "fewest_jobs")


def _outstanding(option: Option) -> int:
    """Jobs outstanding; `min` keeps the first of equals: the lower id."""
    return option.instance.outstanding
