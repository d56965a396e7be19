"""E2, exploit and explore: the policy of the Preble paper.

One cost, two questions. The load cost of an instance is what was placed there in the window,
what making room there loses, and what this prompt would miss there:

    load cost = L + M + P      seconds of GPU time; `history`, `eviction`, `cost_model`

- **exploit** if most of the prompt is held somewhere (missed < held): the cheapest of the
  instances that hold the longest part. Two things change who that is (`readjustment`): an
  instance with too much load sends its exploits to the one with least, and a prefix whose
  requests wait ever longer gets one more instance.
- **explore** otherwise: the instance that decodes most, if its decode ratio is high, for a
  prefill costs least where few others are; else the cheapest of all.

Ties go to the instance with fewer jobs outstanding, then to the lower id: an order that does
not depend on chance. Source: Preble, Algorithms 1 and 2, section 3. What the paper leaves
open is decided in ADR 0014.
"""

from typing import Final

import numpy as np

from preble.history import Column
from preble.policy.choice import Choice, Options, cheapest
from preble.policy.readjustment import Readjustment
from preble.prefix_tree import Node

IMBALANCE_RATIO: Final = 0.7
"""ImbalR: decode ratio above which an instance takes explored requests whatever its load."""

MIN_REQUESTS: Final = 10
"""In the window, before an instance's decode ratio means anything."""


class E2:
    """The paper's policy. Implements `Policy`; its only state is that of `Readjustment`.

    Args:
        readjustment: What changes who is exploited; None for the paper's.
        imbalance_ratio: ImbalR, in 0..1; at 1 no instance is preferred for its decodes.
    """

    name = "e2"

    def __init__(
        self, *, readjustment: Readjustment | None = None, imbalance_ratio: float = IMBALANCE_RATIO
    ) -> None:
        self._readjustment = readjustment or Readjustment()
        self._imbalance_ratio = imbalance_ratio

    def choose(self, options: Options) -> Choice:
        """Exploit the longest held prefix, or explore. Cost: O(instances)."""
        cost = options.load_s + options.weigh_eviction() + options.prefill_s
        most = max(options.hits)
        if options.prompt_tokens - most < most:
            return self._exploit(options, most, cost)
        heaviest = _decode_heaviest(options, self._imbalance_ratio)
        if heaviest is not None:
            return Choice(heaviest, "decode_heavy", cost)
        return Choice(cheapest(cost, options.outstanding), "explore", cost)

    def waited(self, leaf: Node, wait_s: float, *, now_s: float, window_s: float) -> None:
        """Learn how long requests with this prefix wait."""
        self._readjustment.waited(leaf, wait_s, now_s=now_s, window_s=window_s)

    def _exploit(self, options: Options, most: int, cost: Column) -> Choice:
        redirected = self._readjustment.replica(options)
        if redirected is not None:
            return Choice(redirected, "replicated", cost)
        holders = [row for row, hits in enumerate(options.hits) if hits == most]
        row = holders[0]
        if len(holders) > 1:
            row = holders[cheapest(cost[holders], options.outstanding[holders])]
        lighter = self._readjustment.lighter(options, row)
        if lighter is not None:
            return Choice(lighter, "rebalanced", cost)
        return Choice(row, "exploit", cost)


def _decode_heaviest(options: Options, imbalance_ratio: float) -> int | None:
    """The instance of highest decode ratio, if that is above ImbalR.

    DecodeRatio: the share of an instance's requests in the window that were exploits.
    """
    history = options.fleet.history
    above = history.exploits - imbalance_ratio * history.requests
    if above[above.argmax()] <= 0:  # most often: none is, and which is highest does not matter
        return None
    is_known = history.requests >= MIN_REQUESTS
    ratio: Column = np.zeros(len(options))
    np.divide(history.exploits, history.requests, out=ratio, where=is_known)
    heaviest = cheapest(-ratio, options.outstanding)
    return heaviest if ratio[heaviest] > imbalance_ratio else None
