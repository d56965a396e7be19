"""E2, exploit and explore: the paper's rule, so far on L + P.

One cost, two questions. The cost of an instance is what waits there already plus what this
prompt would miss there:

    load cost = L + P       seconds of GPU time; see `history` for L, `cost_model` for P

- **exploit** if most of the prompt is held somewhere (missed < held): the cheapest of the
  instances that hold the longest part;
- **explore** otherwise: the cheapest of all.

Ties go to the instance with fewer jobs outstanding, then to the lower id: an order that
does not depend on chance. Source: Preble, Algorithm 1. Differs: eviction cost M, decode
ratio, rebalancing and replication are not built yet (ADR 0004).
"""

from collections.abc import Sequence

from preble.policy.choice import Choice, Option


class E2:
    """The paper's policy. Stateless. Implements `Policy`."""

    name = "e2"

    def choose(self, options: Sequence[Option], *, prompt_tokens: int) -> Choice:
        """Exploit the longest held prefix, or explore the cheapest instance."""
        most_held = max(option.hit_tokens for option in options)
        if prompt_tokens - most_held < most_held:
            holders = [option for option in options if option.hit_tokens == most_held]
            return Choice(min(holders, key=_cost), "exploit")
        return Choice(min(options, key=_cost), "explore")


def _cost(option: Option) -> tuple[float, int]:
    """Load cost, then jobs outstanding; `min` keeps the first of equals: the lower id."""
    return option.load_cost_s, option.instance.outstanding
