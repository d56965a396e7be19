"""Statistics of a workload: lengths, what an infinite cache would hit, and its key portions.

They follow Table 1 of the Preble paper. All prompts are put into one prefix tree that forgets
nothing. A node is a run of blocks that the same requests share; it ends where some of them part:

    [ system ]──[ document ]──[ question 1 ]
        │             └───────[ question 2 ]      key portion of both: the document
        └───────[ other document ]

The *key portion* of a prompt is the deepest node on its path that has more tokens than all its
predecessors together.
"""

from collections import Counter
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from preble.errors import ConfigError
from preble.simulator.workload.request import Workload

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Spread(msgspec.Struct, frozen=True):
    """Mean and standard deviation."""

    mean: float
    std: float


class WorkloadStatistics(msgspec.Struct, frozen=True):
    """A workload in figures; shares are in [0, 1].

    Args:
        hit_rate: Hit tokens / prompt tokens of an infinite cache, over all requests.
        shared_share: The same, for each request.
        key_portion_share: Tokens of the key portion / prompt tokens, for each request.
        key_portion_requests: Requests that share a key portion, for each key portion.
        skew: Share of the requests that belong to the most popular tenth of the groups.
    """

    num_requests: int
    num_groups: int
    rps: float
    prompt_tokens: Spread
    output_tokens: Spread
    hit_rate: float
    shared_share: Spread
    key_portion_share: Spread
    key_portion_requests: Spread
    skew: float


class _Blocks(NamedTuple):
    """All blocks of all requests, one after another."""

    owner: Ints  # index of the request
    position: Ints  # in its prompt, in blocks
    sharers: Ints  # requests that have this block
    is_hit: NDArray[np.bool_]  # an earlier request has it
    key: Ints  # number of the block key


def describe(workload: Workload) -> WorkloadStatistics:
    """Statistics of a workload.

    Sharing is seen in whole blocks: each request loses half a block on average. Prompts that
    differ after their last full block only still count as different.

    Raises:
        ConfigError: If the workload is empty.

    Cost: O(n log n) in the number of all blocks; some 60 bytes of memory for each.
    Source: Preble, section 3 and Table 1.
    """
    if not workload.requests:
        raise ConfigError(f"Workload {workload.name} has no requests: nothing to describe.")
    prompts = np.array([one.prompt_tokens for one in workload.requests])
    outputs = np.array([one.output_tokens for one in workload.requests])
    blocks = _blocks(workload)
    hits = np.bincount(blocks.owner[blocks.is_hit], minlength=len(prompts)) * workload.block_size
    key_tokens, key_requests = _key_portions(blocks, prompts, workload.block_size)
    group_sizes = _group_sizes(workload)
    return WorkloadStatistics(
        num_requests=len(prompts),
        num_groups=len(group_sizes),
        rps=workload.rps,
        prompt_tokens=_spread(prompts),
        output_tokens=_spread(outputs),
        hit_rate=float(hits.sum() / prompts.sum()),
        shared_share=_spread(hits / prompts),
        key_portion_share=_spread(key_tokens / prompts),
        key_portion_requests=_spread(key_requests),
        skew=_skew(group_sizes),
    )


def _blocks(workload: Workload) -> _Blocks:
    packed = b"".join(one.block_keys for one in workload.requests)
    counts = np.array([len(one.block_keys) // 8 for one in workload.requests])
    starts = np.cumsum(counts) - counts
    _, first, key, sharers = np.unique(
        np.frombuffer(packed, dtype="<u8"),
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    start = np.repeat(starts, counts)
    return _Blocks(
        owner=np.repeat(np.arange(len(counts)), counts),
        position=np.arange(len(start)) - start,
        sharers=sharers[key],
        is_hit=first[key] < start,
        key=key,
    )


def _key_portions(blocks: _Blocks, prompts: Ints, block_size: int) -> tuple[Ints, Ints]:
    """Tokens of each request's key portion, and how many share each distinct key portion.

    Along a path the number of sharers only falls, and a node ends where it does.
    """
    begins = np.flatnonzero(
        (blocks.position == 0) | (np.diff(blocks.sharers, prepend=0) != 0),
    )
    owner = blocks.owner[begins]
    start = blocks.position[begins] * block_size
    end = _node_ends(blocks, begins, prompts, block_size)
    keys = np.flatnonzero(end - start > start)
    deepest = np.full(len(prompts), -1)
    deepest[owner[keys]] = keys  # the last of a request's candidates stays: the deepest
    has_blocks = deepest >= 0
    nodes = deepest[has_blocks]
    tokens = prompts.copy()  # a prompt without a full block is its own key portion
    tokens[has_blocks] = (end - start)[nodes]
    distinct = np.unique(blocks.key[begins[nodes]], return_index=True)[1]
    shared_by = blocks.sharers[begins[nodes[distinct]]]
    return tokens, np.concatenate([shared_by, np.ones(np.count_nonzero(~has_blocks), np.int64)])


def _node_ends(blocks: _Blocks, begins: Ints, prompts: Ints, block_size: int) -> Ints:
    """Where each node ends in its prompt, in tokens; a leaf takes the last, partial block."""
    last = np.append(begins, len(blocks.owner))[1:] - 1
    end = (blocks.position[last] + 1) * block_size
    owner = blocks.owner[begins]
    is_leaf = (np.append(owner[1:], -1) != owner) & (blocks.sharers[last] == 1)
    return np.where(is_leaf, prompts[owner], end)


def _group_sizes(workload: Workload) -> list[int]:
    sizes = Counter(one.group or index for index, one in enumerate(workload.requests))
    return sorted(sizes.values(), reverse=True)


def _skew(group_sizes: list[int]) -> float:
    tenth = max(1, round(len(group_sizes) / 10))
    return sum(group_sizes[:tenth]) / sum(group_sizes)


def _spread(values: Ints | Floats) -> Spread:
    return Spread(float(values.mean()), float(values.std()))
