"""From the block ids of a trace to chained block keys, of the trace's block size or another.

trace blocks of 16, wanted 64:    every fourth key, which names all four
trace blocks of 512, wanted 64:   eight keys for each block; a block is shared whole or not
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from preble.errors import ConfigError
from preble.messages import BlockKeys
from preble.simulator.workload.prefix import chain, root_key

Ids = NDArray[np.uint64]

_PART_STEP: Final = np.uint64(0x9E3779B97F4A7C15)  # parts of one block, far from other blocks' ids
_NOTHING: Final[Ids] = np.zeros(0, dtype=np.uint64)


class BlockNaming:
    """Keys for the prompts of one trace.

    Args:
        name: Of the workload; seeds the root.
        trace_block_size: Tokens in a block of the trace.
        block_size: Tokens in a block as wanted; None for the trace's own.

    Raises:
        ConfigError: If neither size is a multiple of the other.
    """

    def __init__(self, name: str, trace_block_size: int, block_size: int | None) -> None:
        self.trace_block_size = trace_block_size
        self.block_size = block_size or trace_block_size
        if self.block_size % trace_block_size and trace_block_size % self.block_size:
            raise ConfigError(
                f"{name} has blocks of {trace_block_size} tokens, which do not fit into blocks of "
                f"{self.block_size}: take a multiple or a divisor."
            )
        self._merged = max(1, self.block_size // trace_block_size)
        self._parts = max(1, trace_block_size // self.block_size)
        self._root = root_key(name)
        self._num_unnamed = 0
        self._latest: dict[int, tuple[Ids, Ids]] = {}

    def keys(self, ids: Ids, prompt_tokens: int) -> BlockKeys:
        """Keys of all full blocks of a prompt.

        `ids` has one for each block of the trace, with or without that of the last, partial one;
        they are equal where the content is equal.

        Cost: hashes only what differs from the latest prompt with the same first block.
        """
        ids = self._split(ids, prompt_tokens)
        chained = self._chained(ids[: prompt_tokens // min(self.block_size, self.trace_block_size)])
        return BlockKeys(chained[self._merged - 1 :: self._merged].astype("<u8").tobytes())

    def _split(self, ids: Ids, prompt_tokens: int) -> Ids:
        if self._parts == 1:
            return ids
        if len(ids) * self.trace_block_size < prompt_tokens:
            ids = np.append(ids, self._unnamed_id())
        parts = np.arange(self._parts, dtype=np.uint64) * _PART_STEP
        return (ids[:, np.newaxis] + parts).ravel()

    def _unnamed_id(self) -> np.uint64:
        """For a partial block without an id, which is full of finer ones: nobody else has it."""
        self._num_unnamed += 1
        return np.uint64(2**64 - self._num_unnamed)

    def _chained(self, ids: Ids) -> Ids:
        if not len(ids):
            return _NOTHING
        first = int(ids[0])
        known_ids, known_keys = self._latest.get(first, (_NOTHING, _NOTHING))
        same = _common_length(ids, known_ids)
        parent = int(known_keys[same - 1]) if same else self._root
        new = np.array(chain(ids[same:].tolist(), parent), dtype=np.uint64)
        keys = np.concatenate([known_keys[:same], new])
        self._latest[first] = (ids, keys)
        return keys


def block_ids(ids: list[int]) -> Ids:
    """Ids as an array."""
    return np.array(ids, dtype=np.uint64)


def _common_length(one: Ids, other: Ids) -> int:
    length = min(len(one), len(other))
    different = np.flatnonzero(one[:length] != other[:length])
    return int(different[0]) if len(different) else length
