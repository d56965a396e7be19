"""`preble bench decision`: what one decision costs, and the state it stands on.

The scheduler is the production one. It holds `blocks` distinct cached blocks, spread over
the instances in prompts of 512 blocks; then jobs are assigned of which `hit_share` is held
by one instance. Each assignment is taken back, so that every one meets the same state.
"""

import gc
import platform
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from preble.bench.statistics import Timing, time_each
from preble.messages import (
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
    """Cost of one assignment, and of the match within it."""

    prompt_tokens: int
    instances: int
    cached_blocks: int
    hit_share: float
    decision: Timing
    match: Timing


class StateRow(msgspec.Struct, frozen=True):
    """Cost of holding and learning prefix state."""

    cached_blocks: int
    bytes_per_block: float
    events_folded_per_s: int
    """Blocks stored, told in event batches of 16 blocks."""
    blocks_loaded_per_s: int
    """Blocks of one instance's snapshot."""


class DecisionFigures(msgspec.Struct, frozen=True):
    """All rows of one run."""

    python: str
    decisions: tuple[DecisionRow, ...]
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
    return DecisionFigures(platform.python_version(), tuple(decisions), tuple(states))


def _measure_decisions(
    cached: int, number: int, prompt_tokens: Sequence[int]
) -> Iterator[DecisionRow]:
    chance = random.Random(cached)  # noqa: S311  # the same keys in each run
    prompts = [_keys(chance, PROMPT_BLOCKS) for _ in range(max(1, cached // PROMPT_BLOCKS))]
    scheduler = _loaded(prompts, number)
    tree = PrefixTree()
    for index, keys in enumerate(prompts):
        tree.store(keys, index % number)
    for tokens in prompt_tokens:
        for hit_share in (0.9, 0.0):
            jobs = [_job(chance, prompts, tokens, hit_share) for _ in range(SAMPLES)]
            slots = (1 << number) - 1
            matches = [partial(tree.match, unpack_keys(job.block_keys), slots) for job in jobs]
            yield DecisionRow(
                tokens, number, cached, hit_share, _time_assignments(scheduler, jobs),
                time_each(matches),
            )  # fmt: skip


def _time_assignments(scheduler: Scheduler, jobs: Sequence[WaitingJob]) -> Timing:
    def assign(job: WaitingJob) -> None:
        scheduler.assign(job, now_s=0.0)
        scheduler.forget(job.job_id)

    return time_each([partial(assign, job) for job in jobs])


def _measure_state(cached: int) -> StateRow:
    chance = random.Random(cached)  # noqa: S311
    keys = _keys(chance, cached)
    return StateRow(
        cached_blocks=cached,
        bytes_per_block=round(_bytes_per_block(keys), 1),
        events_folded_per_s=round(cached / _fold_s(keys)),
        blocks_loaded_per_s=round(cached / _load_s(keys)),
    )


def _bytes_per_block(keys: Sequence[int]) -> float:
    """Memory that a tree allocates, its own copies of the keys included."""
    packed = pack_keys(keys)
    gc.collect()
    tracemalloc.start()
    tree = PrefixTree()
    tree.store(unpack_keys(packed), 0)
    gc.collect()
    allocated_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return allocated_bytes / len(tree)


def _fold_s(keys: Sequence[int]) -> float:
    scheduler = _empty(1)
    batches = [
        EventBatch(
            InstanceId("gpu000"), "e", seq,
            (BlocksStored(pack_keys(keys[start : start + EVENTS_IN_BATCH])),),
        )
        for seq, start in enumerate(range(0, len(keys), EVENTS_IN_BATCH), start=1)
    ]  # fmt: skip
    started_s = time.perf_counter()
    for batch in batches:
        scheduler.fold(batch)
    return time.perf_counter() - started_s


def _load_s(keys: Sequence[int]) -> float:
    scheduler = _empty(1)
    snapshot = Snapshot(InstanceId("gpu000"), "e", 1, pack_keys(keys))
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
        keys = [key for prompt in prompts[index::number] for key in prompt]
        scheduler.load_snapshot(Snapshot(InstanceId(f"gpu{index:03}"), "e", 1, pack_keys(keys)))
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
