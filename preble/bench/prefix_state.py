"""What prefix state costs to hold and to learn, and schedulers that hold some."""

import gc
import random
import time
import tracemalloc
from collections.abc import Sequence
from itertools import count
from typing import Final

import msgspec

from preble.config import PolicyName
from preble.messages import (
    BlocksRemoved,
    BlocksStored,
    EventBatch,
    InstanceId,
    InstanceRecord,
    Snapshot,
    pack_keys,
    unpack_keys,
)
from preble.policy import create_policy
from preble.prefix_tree import PrefixTree
from preble.scheduler import Scheduler

BLOCK_SIZE: Final = 64
PROMPT_BLOCKS: Final = 512
EVENTS_IN_BATCH: Final = 16
HISTORY_S: Final = 180.0
COST_MODEL: Final = "mistral_7b_a6000"
_ANY: Final[PolicyName] = "round_robin"
"""Where nothing is decided."""


class StateRow(msgspec.Struct, frozen=True):
    """Cost of holding and learning prefix state, of one instance."""

    cached_blocks: int
    bytes_per_block: float
    """In prompts of 512 blocks."""
    bytes_per_block_branching: float
    """In a tree that branches every 16 blocks."""
    events_stored_per_s: int
    """Blocks stored, told in event batches of 16 blocks."""
    events_removed_per_s: int
    """Blocks removed, told likewise, deepest first."""
    blocks_loaded_per_s: int
    """Blocks of one instance's snapshot."""


def measure_state(cached: int) -> StateRow:
    """Hold so many blocks, and time how they are learnt and forgotten."""
    chance = random.Random(cached)  # noqa: S311  # the same keys in each run
    long, short = _chains(chance, cached, PROMPT_BLOCKS), _branches(chance, cached)
    stored_s, removed_s = _fold_s(long)
    return StateRow(
        cached_blocks=cached,
        bytes_per_block=round(_bytes_per_block(long), 1),
        bytes_per_block_branching=round(_bytes_per_block(short), 1),
        events_stored_per_s=round(cached / stored_s),
        events_removed_per_s=round(cached / removed_s),
        blocks_loaded_per_s=round(cached / _load_s(long)),
    )


def _chains(chance: random.Random, cached: int, blocks: int) -> list[BlocksStored]:
    """So many blocks, in prompts of so many that share nothing."""
    return [
        BlocksStored(pack_keys(random_keys(chance, min(blocks, cached - start))))
        for start in range(0, cached, blocks)
    ]


def _branches(chance: random.Random, cached: int) -> list[BlocksStored]:
    """So many blocks, in runs of 16 of which each two follow the same one."""
    runs: list[list[int]] = []
    stored: list[BlocksStored] = []
    for number in range(max(1, cached // EVENTS_IN_BATCH)):
        keys = random_keys(chance, EVENTS_IN_BATCH)
        parent_key = runs[(number - 1) // 2][-1] if runs else None
        runs.append(keys)
        stored.append(BlocksStored(pack_keys(keys), parent_key))
    return stored


def _bytes_per_block(runs: Sequence[BlocksStored]) -> float:
    """Memory that a tree allocates, its own copies of the keys included."""
    gc.collect()
    tracemalloc.start()
    tree = PrefixTree()
    tree.add_holder(0)
    for run in runs:
        tree.store(unpack_keys(run.block_keys), 0, parent_key=run.parent_key)
    gc.collect()
    allocated_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return allocated_bytes / len(tree)


def _fold_s(prompts: Sequence[BlocksStored]) -> tuple[float, float]:
    """Seconds to fold batches that store everything, and then batches that remove it."""
    scheduler, seq = empty_scheduler(_ANY, 1), count(1)
    stored = [_batch(next(seq), event) for run in prompts for event in _cut(run)]
    removed = [
        _batch(next(seq), BlocksRemoved(pack_keys(reversed(unpack_keys(event.block_keys)))))
        for run in prompts
        for event in reversed(_cut(run))
    ]
    return _time_s(scheduler, stored), _time_s(scheduler, removed)


def _time_s(scheduler: Scheduler, batches: Sequence[EventBatch]) -> float:
    started_s = time.perf_counter()
    for batch in batches:
        scheduler.fold(batch)
    return time.perf_counter() - started_s


def _cut(run: BlocksStored) -> list[BlocksStored]:
    keys = unpack_keys(run.block_keys)
    return [
        BlocksStored(
            pack_keys(keys[start : start + EVENTS_IN_BATCH]), keys[start - 1] if start else None
        )
        for start in range(0, len(keys), EVENTS_IN_BATCH)
    ]


def _batch(seq: int, event: BlocksStored | BlocksRemoved) -> EventBatch:
    return EventBatch(InstanceId("gpu000"), "e", seq, (event,))


def _load_s(runs: Sequence[BlocksStored]) -> float:
    scheduler = empty_scheduler(_ANY, 1)
    snapshot = Snapshot(InstanceId("gpu000"), "e", 1, tuple(runs))
    started_s = time.perf_counter()
    scheduler.load_snapshot(snapshot)
    return time.perf_counter() - started_s


def empty_scheduler(policy: PolicyName, number: int) -> Scheduler:
    """One with so many instances that hold nothing."""
    scheduler = Scheduler(create_policy(policy), block_size=BLOCK_SIZE, history_s=HISTORY_S)
    for index in range(number):
        instance_id = InstanceId(f"gpu{index:03}")
        scheduler.join(InstanceRecord(instance_id, "e", "noop", 256, 1_000_000, COST_MODEL))
    return scheduler


def loaded_scheduler(policy: PolicyName, prompts: Sequence[list[int]], number: int) -> Scheduler:
    """One whose instances hold these prompts, each in turn."""
    scheduler = empty_scheduler(policy, number)
    for index in range(number):
        runs = tuple(BlocksStored(pack_keys(keys)) for keys in prompts[index::number])
        scheduler.load_snapshot(Snapshot(InstanceId(f"gpu{index:03}"), "e", 1, runs))
    return scheduler


def random_keys(chance: random.Random, number: int) -> list[int]:
    """So many block keys."""
    return [chance.getrandbits(64) for _ in range(number)]
