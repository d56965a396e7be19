"""Which instance holds how much of a prompt: the tree of all cached prefixes.

A block key names its whole prefix (see `block_keys`), so the tree needs no edges: the
table key → holders *is* the tree, and a node's depth is the position of its key.

    keys of a prompt    k0    k1    k2    k3    k4
    holders             ab    ab    a     a     -        a holds 4 blocks, b holds 2

Because engines evict leaves first, what an instance holds of any prompt is a prefix of
it. So the deepest held depth is found by bisection, for all instances in one pass.

Two kinds of holding, kept apart:

- *resident*: the instance's own events said so, exactly;
- *expected*: a job was placed there and has not computed its blocks yet, so that a burst
  with one prefix lands together. It ends when the job does.

Instances are numbered slots; sets of them are bit masks. How many jobs expect a block is
kept for all slots in one integer, a lane of bits for each, so that counting is one addition.
Memory: one table entry for each distinct key that anybody holds or expects; nothing stays
when the last holder lets go.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from preble.errors import InvariantError

_LANE_BITS: Final = 32
"""Room for the jobs of one instance that expect one block: more than a queue can hold."""


class PrefixTree:
    """Holders of block keys. All sizes are in blocks."""

    def __init__(self) -> None:
        self._resident: dict[int, int] = {}
        self._expected: dict[int, int] = {}

    def __len__(self) -> int:
        """Distinct blocks that some instance holds."""
        return len(self._resident)

    def match(self, keys: Sequence[int], slots: int) -> dict[int, int]:
        """Deepest depth held or expected, for each instance.

        Args:
            keys: Block keys of a prompt, first block first.
            slots: Mask of the instances asked about.

        Returns:
            Depth in blocks by slot number, for every instance asked about; 0 for none.

        Cost: O(d log len(keys)) table look-ups, d = number of distinct depths.
        """
        depths: dict[int, int] = {}
        ranges = [(0, len(keys), slots)]
        while ranges:
            low, high, mask = ranges.pop()
            if low == high:
                depths.update((slot, low) for slot in slots_of(mask))
                continue
            middle = (low + high + 1) // 2
            holders = self._holders(keys[middle - 1]) & mask
            if holders:
                ranges.append((middle, high, holders))
            if rest := mask & ~holders:
                ranges.append((low, middle - 1, rest))
        return depths

    def resident_depth(self, keys: Sequence[int], slot: int) -> int:
        """Deepest depth that one instance holds for certain. Cost: O(log len(keys))."""
        low, high, bit = 0, len(keys), 1 << slot
        while low < high:
            middle = (low + high + 1) // 2
            if self._resident.get(keys[middle - 1], 0) & bit:
                low = middle
            else:
                high = middle - 1
        return low

    def store(self, keys: Iterable[int], slot: int) -> None:
        """An instance holds these blocks now. Changes: at most one entry for each key."""
        bit, resident = 1 << slot, self._resident
        for key in keys:
            resident[key] = resident.get(key, 0) | bit

    def remove(self, keys: Iterable[int], slot: int) -> None:
        """An instance has evicted these blocks; those it did not hold are skipped."""
        keep, resident = ~(1 << slot), self._resident
        for key in keys:
            if holders := resident.get(key, 0) & keep:
                resident[key] = holders
            else:
                resident.pop(key, None)

    def clear(self, slot: int) -> None:
        """An instance holds nothing any more. Cost: O(len(tree))."""
        bit = 1 << slot
        self.remove([key for key, holders in self._resident.items() if holders & bit], slot)

    def expect(self, keys: Iterable[int], slot: int) -> None:
        """A job placed on an instance will compute these blocks; counted, one for each job."""
        one, expected = 1 << slot * _LANE_BITS, self._expected
        for key in keys:
            expected[key] = expected.get(key, 0) + one

    def unexpect(self, keys: Iterable[int], slot: int) -> None:
        """Take back one `expect` of the same keys on the same slot: there must be one."""
        one, expected = 1 << slot * _LANE_BITS, self._expected
        for key in keys:
            if left := expected[key] - one:
                expected[key] = left
            else:
                del expected[key]

    def check_invariants(self) -> None:
        """Raise InvariantError if an entry without holders was kept."""
        if not all(self._resident.values()):
            msg = "a block without holder was kept"
            raise InvariantError(msg)
        if not all(counts > 0 for counts in self._expected.values()):
            msg = "a block that nobody expects was kept"
            raise InvariantError(msg)

    def _holders(self, key: int) -> int:
        holders = self._resident.get(key, 0)
        counts = self._expected.get(key, 0)
        while counts:
            slot = (counts.bit_length() - 1) // _LANE_BITS
            holders |= 1 << slot
            counts &= (1 << slot * _LANE_BITS) - 1
        return holders


def slots_of(mask: int) -> Iterator[int]:
    """Slot numbers in a mask, lowest first."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest
