"""What making room costs: the `M` of the paper's load cost.

M_i = sum over the nodes j that LRU eviction would remove from i to fit the request of
      PrefillTime(len j) * N_j,   N_j = requests sharing j in H / requests on i in H

Blocks without a hit in the window cost nothing and fall first. The rest falls in a fixed
order until the instance changes, so the cost of any number of blocks is read from one curve
that is drawn as far as it was asked for. Source: Preble, Algorithm 2. Differs: memory does
not count as always full, for the blocks held are known exactly (ADR 0014).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from preble.prefix_tree import Victim


class EvictionCurve:
    """Seconds lost by evicting so many hot blocks from one instance.

    Args:
        victims: In the order of eviction.
        requests: Requests on the instance in the window.
        prefill_s: Seconds to compute a node's blocks anew, by their number and the number
            of blocks up to their end.
    """

    def __init__(
        self, victims: Iterator[Victim], requests: float, prefill_s: Callable[[int, int], float]
    ) -> None:
        self._victims = victims
        self._requests = requests
        self._prefill_s = prefill_s
        self._blocks = [0]
        self._cost_s = [0.0]

    def cost_s(self, blocks: int) -> float:
        """M for so many blocks; part of a node costs its part. Cost: O(log victims drawn)."""
        self._draw(blocks)
        if blocks >= self._blocks[-1]:
            return self._cost_s[-1]
        at = bisect_left(self._blocks, blocks)
        if not at:
            return 0.0
        size = self._blocks[at] - self._blocks[at - 1]
        share = (blocks - self._blocks[at - 1]) / size
        return self._cost_s[at - 1] + share * (self._cost_s[at] - self._cost_s[at - 1])

    def _draw(self, blocks: int) -> None:
        while self._blocks[-1] < blocks:
            victim = next(self._victims, None)
            if victim is None:
                return
            end = victim.node.start + victim.blocks
            lost_s = self._prefill_s(victim.blocks, end) * victim.hits / self._requests
            self._blocks.append(self._blocks[-1] + victim.blocks)
            self._cost_s.append(self._cost_s[-1] + lost_s)
