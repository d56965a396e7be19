"""The KV cache of a simulated engine: blocks that are shared, and tokens that are not.

    request A   [k0][k1][a2][tail]......      k0 and k1 are pinned twice; tails and outputs are
    request B   [k0][k1][b2][b3][tail].       *private*: counted as tokens, freed at the end

It holds what `kv_cache` of the workers holds, by the same rules: held blocks are
prefix-closed, a running request pins its first blocks, and the least recently used leaf is
evicted first, for what is released is appended deepest block first. It differs in that
computed tokens are private until their block is full, and that outputs stay private: a
workload does not name them.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from preble.errors import InvariantError
from preble.messages import BlockEvent, BlockKeys, BlocksRemoved, BlocksStored, pack_keys

_KEY_BYTES: Final = 8


class KvBlocks:
    """Blocks by key and private tokens, never above the capacity.

    Args:
        capacity_tokens: Tokens of KV cache.
        block_size: Tokens in a block.
    """

    def __init__(self, *, capacity_tokens: int, block_size: int) -> None:
        self.capacity_tokens = capacity_tokens
        self.block_size = block_size
        self.private_tokens = 0
        self.evicted_blocks = 0
        self._pins: dict[int, int] = {}
        self._evictable: OrderedDict[int, None] = OrderedDict()
        self._events: list[BlockEvent] = []

    @property
    def free_tokens(self) -> int:
        """Tokens that nothing occupies."""
        return self.capacity_tokens - len(self._pins) * self.block_size - self.private_tokens

    @property
    def available_tokens(self) -> int:
        """Tokens that are free, or would be after eviction."""
        return self.free_tokens + len(self._evictable) * self.block_size

    @property
    def has_events(self) -> bool:
        """Whether blocks were stored or removed that nobody was told of yet."""
        return bool(self._events)

    def held_blocks(self, keys: Sequence[int], first: int, end: int) -> int:
        """The first block in `first..end` that is not held; `end` if all are. O(log blocks)."""
        pins = self._pins
        return bisect_left(keys, x=True, lo=first, hi=end, key=lambda key: key not in pins)

    def unpinned_blocks(self, keys: Sequence[int], held: int) -> int:
        """How many of the first `held` blocks nobody pins: the deepest. O(log blocks)."""
        evictable = self._evictable
        return held - bisect_left(keys, x=True, hi=held, key=lambda key: key in evictable)

    def pin(self, keys: Sequence[int]) -> None:
        """Keep held blocks from eviction, once more each. Cost: O(keys)."""
        pins = self._pins
        for key in keys:
            if not pins[key]:
                del self._evictable[key]
            pins[key] += 1

    def take(self, tokens: int) -> None:
        """Make private tokens of `available_tokens`, evicting for them what is in the way."""
        missing = tokens - self.free_tokens
        if missing > 0:
            self._evict(-(-missing // self.block_size))
        self.private_tokens += tokens

    def store(self, keys: Sequence[int], packed: BlockKeys, first: int, end: int) -> None:
        """Private tokens of a request have become its blocks `first..end`, and are pinned.

        Those that another request has stored meanwhile are shared, not held twice. `packed`
        are the same keys in their wire form.

        Cost: O(new blocks).
        """
        known = self.held_blocks(keys, first, end)
        self.pin(keys[first:known])
        self.private_tokens -= (end - first) * self.block_size
        if known < end:
            self._pins.update(dict.fromkeys(keys[known:end], 1))
            run = BlockKeys(packed[known * _KEY_BYTES : end * _KEY_BYTES])
            self._events.append(BlocksStored(run, keys[known - 1] if known else None))

    def release(self, keys: Sequence[int], held: int, private_tokens: int) -> None:
        """A request lets go of its first `held` blocks and of its private tokens. O(held)."""
        pins, evictable = self._pins, self._evictable
        for index in range(held - 1, -1, -1):
            key = keys[index]
            pins[key] -= 1
            if not pins[key]:
                evictable[key] = None
        self.private_tokens -= private_tokens

    def take_events(self) -> tuple[BlockEvent, ...]:
        """What was stored and removed since the last call. Changes: forgets it."""
        events = tuple(self._events)
        self._events.clear()
        return events

    def check(self) -> None:
        """Check the accounts. Raises: InvariantError. Cost: O(1)."""
        if self.private_tokens < 0 or self.free_tokens < 0:
            msg = f"KV cache: {self.private_tokens} tokens private, {self.free_tokens} free"
            raise InvariantError(msg)

    def _evict(self, blocks: int) -> None:
        keys = [self._evictable.popitem(last=False)[0] for _ in range(blocks)]
        for key in keys:
            del self._pins[key]
        self.evicted_blocks += blocks
        self._events.append(BlocksRemoved(pack_keys(keys)))
