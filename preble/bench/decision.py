"""`preble bench decision`: what one decision costs, and the state it stands on.

The scheduler is the production one, with policy `e2`. It holds `cached_blocks` distinct
blocks, spread over the instances in prompts of 512 blocks; then jobs are assigned of which
`hit_share` is held by one instance. Each assignment is taken back, and has left the window
when the next is made, so that every one meets the same state and pays for what it leaves.
"""

import gc
import math
import platform
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Final, Literal

import msgspec

from preble.bench.statistics import Timing, time_each
from preble.messages import (
    BlocksRemoved,
    BlocksStored,
    EventBatch,
    InstanceId,
    InstanceRecord,
    JobId,
    JobSpec,
    SamplingParams,
    Snapshot,
    WaitingJob,
    pack_keys,
    unpack_keys,
)
from preble.policy import create_policy
from preble.prefix_tree import PrefixTree
from preble.scheduler import Scheduler

BLOCK_SIZE: Final = 64
PROMPT_BLOCKS: Final = 512
EVENTS_IN_BATCH: Final = 16
SAMPLES: Final = 400
HISTORY_S: Final = 180.0
COST_MODEL: Final = "mistral_7b_a6000"


class DecisionRow(msgspec.Struct, frozen=True):
    """Cost of one operation: the whole decision, or the match within it."""

    operation: Literal["decision", "match"]
    prompt_tokens: int
    instances: int
    cached_blocks: int
    hit_share: float
    p50_us: float
    p99_us: float


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


class GrowthRow(msgspec.Struct, frozen=True):
    """How a cost grows: the exponent e in cost ~ quantity ** e, fitted over the p50s."""

    operation: Literal["decision", "match"]
    hit_share: float
    quantity: Literal["prompt_tokens", "instances", "cached_blocks"]
    exponent: float


class DecisionFigures(msgspec.Struct, frozen=True):
    """All rows of one run."""

    python: str
    decisions: tuple[DecisionRow, ...]
    growth: tuple[GrowthRow, ...]
    states: tuple[StateRow, ...]


def run(
    *, prompt_tokens: Sequence[int], instances: Sequence[int], blocks: Sequence[int],
    say: Callable[[str], None],
) -> DecisionFigures:  # fmt: skip
    """Measure every combination.

    Args:
        prompt_tokens: Prompt lengths.
        instances: Numbers of instances.
        blocks: Numbers of cached blocks.
        say: Told what is being measured.
    """
    states: list[StateRow] = []
    decisions: list[DecisionRow] = []
    for cached in blocks:
        say(f"state of {cached} blocks")
        states.append(_measure_state(cached))
        for number in instances:
            say(f"decisions over {cached} blocks on {number} instances")
            decisions += _measure_decisions(cached, number, prompt_tokens)
    return DecisionFigures(
        platform.python_version(), tuple(decisions), tuple(growth_of(decisions)), tuple(states)
    )


def growth_of(rows: Sequence[DecisionRow]) -> Iterator[GrowthRow]:
    """Exponents along each quantity of which several were measured, the others at their most."""
    quantities: tuple[Literal["prompt_tokens", "instances", "cached_blocks"], ...] = (
        "prompt_tokens", "instances", "cached_blocks",
    )  # fmt: skip
    most = {name: max(getattr(row, name) for row in rows) for name in quantities}
    first_of_kind = {(row.operation, row.hit_share): row for row in rows}
    for kind, first in first_of_kind.items():
        for quantity in quantities:
            fixed = {name: value for name, value in most.items() if name != quantity}
            line = [
                (math.log(getattr(row, quantity)), math.log(row.p50_us))
                for row in rows
                if (row.operation, row.hit_share) == kind
                and all(getattr(row, name) == value for name, value in fixed.items())
            ]
            if len(line) > 1:
                yield GrowthRow(first.operation, first.hit_share, quantity, round(_slope(line), 2))


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line that fits best by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / sum((x - mean_x) ** 2 for x, _ in points)


def _measure_decisions(
    cached: int, number: int, prompt_tokens: Sequence[int]
) -> Iterator[DecisionRow]:
    chance = random.Random(cached)  # noqa: S311  # the same keys in each run
    prompts = [_keys(chance, PROMPT_BLOCKS) for _ in range(max(1, cached // PROMPT_BLOCKS))]
    scheduler = _loaded(prompts, number)
    tree = PrefixTree()
    tree.add_holder(number - 1)
    for index, keys in enumerate(prompts):
        tree.store(keys, index % number)
    seconds = count(step=2 * HISTORY_S)
    for tokens in prompt_tokens:
        for hit_share in (0.9, 0.0):
            jobs = [_job(chance, prompts, tokens, hit_share) for _ in range(SAMPLES)]
            holders = (1 << number) - 1
            matches = [partial(tree.match, unpack_keys(job.block_keys), holders) for job in jobs]
            case = (tokens, number, cached, hit_share)
            decided, matched = _time_assignments(scheduler, jobs, seconds), time_each(matches)
            yield DecisionRow("decision", *case, decided.p50_us, decided.p99_us)
            yield DecisionRow("match", *case, matched.p50_us, matched.p99_us)


def _time_assignments(
    scheduler: Scheduler, jobs: Sequence[WaitingJob], seconds: Iterator[float]
) -> Timing:
    assign = [partial(scheduler.assign, job, now_s=next(seconds)) for job in jobs]
    return time_each(assign, undo=[partial(scheduler.forget, job.job_id) for job in jobs])


def _measure_state(cached: int) -> StateRow:
    chance = random.Random(cached)  # noqa: S311
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
        BlocksStored(pack_keys(_keys(chance, min(blocks, cached - start))))
        for start in range(0, cached, blocks)
    ]


def _branches(chance: random.Random, cached: int) -> list[BlocksStored]:
    """So many blocks, in runs of 16 of which each two follow the same one."""
    runs: list[list[int]] = []
    stored: list[BlocksStored] = []
    for number in range(max(1, cached // EVENTS_IN_BATCH)):
        keys = _keys(chance, EVENTS_IN_BATCH)
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
    scheduler, seq = _empty(1), count(1)
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
    scheduler = _empty(1)
    snapshot = Snapshot(InstanceId("gpu000"), "e", 1, tuple(runs))
    started_s = time.perf_counter()
    scheduler.load_snapshot(snapshot)
    return time.perf_counter() - started_s


def _empty(number: int) -> Scheduler:
    scheduler = Scheduler(create_policy("e2"), block_size=BLOCK_SIZE, history_s=HISTORY_S)
    for index in range(number):
        instance_id = InstanceId(f"gpu{index:03}")
        scheduler.join(InstanceRecord(instance_id, "e", "noop", 256, 1_000_000, COST_MODEL))
    return scheduler


def _loaded(prompts: Sequence[list[int]], number: int) -> Scheduler:
    scheduler = _empty(number)
    for index in range(number):
        runs = tuple(BlocksStored(pack_keys(keys)) for keys in prompts[index::number])
        scheduler.load_snapshot(Snapshot(InstanceId(f"gpu{index:03}"), "e", 1, runs))
    return scheduler


def _job(
    chance: random.Random, prompts: Sequence[list[int]], tokens: int, hit_share: float
) -> WaitingJob:
    """A prompt that begins like a cached one as far as `hit_share` of its blocks."""
    blocks = tokens // BLOCK_SIZE
    held = int(blocks * hit_share)
    keys = chance.choice(prompts)[:held] + _keys(chance, blocks - held)
    spec = JobSpec(tokens, SamplingParams())
    return WaitingJob(JobId(f"{chance.getrandbits(64):x}"), "ingress", spec, pack_keys(keys))


def _keys(chance: random.Random, number: int) -> list[int]:
    return [chance.getrandbits(64) for _ in range(number)]
