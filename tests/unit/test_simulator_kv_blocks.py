"""Accounts of the simulated KV cache; eviction and events are tested with the engine."""

import pytest

from preble.errors import InvariantError
from preble.messages import BlocksRemoved, pack_keys
from preble.simulator.kv_blocks import KvBlocks

BLOCK = 10


def make() -> KvBlocks:
    return KvBlocks(capacity_tokens=45, block_size=BLOCK)


def compute(kv: KvBlocks, *keys: int) -> None:
    """A request computes these blocks, and nothing else."""
    kv.take(len(keys) * BLOCK)
    kv.store(list(keys), pack_keys(keys), 0, len(keys))


def test_tokens_are_private_until_their_block_is_stored() -> None:
    kv = make()
    kv.take(15)
    assert (kv.private_tokens, kv.free_tokens) == (15, 30)
    kv.store([1], pack_keys([1]), 0, 1)
    assert (kv.private_tokens, kv.free_tokens, kv.available_tokens) == (5, 30, 30)


def test_a_block_that_two_compute_is_held_once() -> None:
    kv = make()
    kv.take(20)
    for _ in range(2):
        kv.store([1], pack_keys([1]), 0, 1)
    assert (kv.free_tokens, len(kv.take_events())) == (35, 1)


def test_released_blocks_stay_until_room_is_needed() -> None:
    kv = make()
    compute(kv, 1, 2, 3)
    kv.release([1, 2, 3], 3, 0)
    kv.take_events()
    assert (kv.free_tokens, kv.available_tokens) == (15, 45)
    kv.take(26)
    assert kv.take_events() == (BlocksRemoved(pack_keys([3, 2])),)
    assert (kv.free_tokens, kv.evicted_blocks) == (9, 2)
    assert kv.held_blocks([1, 2, 3], 0, 3) == 1


def test_pinned_blocks_are_not_available() -> None:
    kv = make()
    compute(kv, 1, 2)
    kv.release([1, 2], 2, 0)
    assert kv.unpinned_blocks([1, 2], 2) == 2
    kv.pin([1])
    assert kv.unpinned_blocks([1, 2], 2) == 1
    assert kv.available_tokens == 35


def test_accounts_that_went_wrong_are_noticed() -> None:
    kv = make()
    kv.release([], 0, 1)
    with pytest.raises(InvariantError, match="-1 tokens private"):
        kv.check()
