"""`preble bench decision`: what one decision costs, and the state it stands on.

The scheduler is the production one. It holds `cached_blocks` distinct blocks, spread over the
instances in prompts of 512 blocks; then jobs are assigned of which `hit_share` is held by one
instance. Each assignment is taken back, and has left the window when the next is made, so that
every one meets the same state and pays for what it leaves. So are plans of whole windows.
"""

import math
import platform
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Final, Literal

import msgspec

from preble.bench.prefix_state import (
    BLOCK_SIZE,
    HISTORY_S,
    PROMPT_BLOCKS,
    StateRow,
    loaded_scheduler,
    measure_state,
    random_keys,
)
from preble.bench.statistics import Timing, time_each
from preble.config import PolicyName
from preble.messages import (
    JobId,
    JobSpec,
    SamplingParams,
    WaitingJob,
    pack_keys,
    unpack_keys,
)
from preble.prefix_tree import PrefixTree
from preble.scheduler import Scheduler

SAMPLES: Final = 400
PLANNED_JOBS: Final = 64
PLANNED_INSTANCES: Final = 16
PLANS: Final = 100
CREDIT_S: Final = 0.5


class DecisionRow(msgspec.Struct, frozen=True):
    """Cost of one operation: the whole decision, or the match within it."""

    operation: Literal["decision", "match"]
    prompt_tokens: int
    instances: int
    cached_blocks: int
    hit_share: float
    p50_us: float
    p99_us: float


class PlanRow(msgspec.Struct, frozen=True):
    """Cost of a whole plan, which places what instances have credit for, over its jobs."""

    window: Literal["new", "known"]
    """Whether the plan before saw these jobs wait; but for those that it placed."""
    jobs: int
    prompt_tokens: int
    instances: int
    cached_blocks: int
    hit_share: float
    p50_us_per_job: float
    p99_us_per_job: float


class GrowthRow(msgspec.Struct, frozen=True):
    """How a cost grows: the exponent e in cost ~ quantity ** e, fitted over the p50s."""

    operation: Literal["decision", "match"]
    hit_share: float
    quantity: Literal["prompt_tokens", "instances", "cached_blocks"]
    exponent: float


class DecisionFigures(msgspec.Struct, frozen=True):
    """All rows of one run."""

    python: str
    policy: PolicyName
    decisions: tuple[DecisionRow, ...]
    plans: tuple[PlanRow, ...]
    growth: tuple[GrowthRow, ...]
    states: tuple[StateRow, ...]


def run(
    *, policy: PolicyName, prompt_tokens: Sequence[int], instances: Sequence[int],
    blocks: Sequence[int], say: Callable[[str], None],
) -> DecisionFigures:  # fmt: skip
    """Measure every combination; plans, over the most blocks.

    Args:
        policy: Which decides.
        prompt_tokens: Prompt lengths.
        instances: Numbers of instances.
        blocks: Numbers of cached blocks.
        say: Told what is being measured.
    """
    states: list[StateRow] = []
    decisions: list[DecisionRow] = []
    for cached in blocks:
        say(f"state of {cached} blocks")
        states.append(measure_state(cached))
        for number in instances:
            say(f"decisions over {cached} blocks on {number} instances")
            decisions += _measure_decisions(policy, cached, number, prompt_tokens)
    say(f"plans of {PLANNED_JOBS} jobs on {PLANNED_INSTANCES} instances")
    plans = tuple(_measure_plans(policy, max(blocks), max(prompt_tokens)))
    return DecisionFigures(
        platform.python_version(), policy, tuple(decisions), plans, tuple(growth_of(decisions)),
        tuple(states),
    )  # fmt: skip


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
    policy: PolicyName, cached: int, number: int, prompt_tokens: Sequence[int]
) -> Iterator[DecisionRow]:
    chance = random.Random(cached)  # noqa: S311  # the same keys in each run
    prompts = _cached_prompts(chance, cached)
    scheduler = loaded_scheduler(policy, prompts, number)
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


def _measure_plans(policy: PolicyName, cached: int, tokens: int) -> Iterator[PlanRow]:
    chance = random.Random(cached)  # noqa: S311  # the same keys in each run
    prompts = _cached_prompts(chance, cached)
    for hit_share in (0.9, 0.0):
        windows = [
            [_job(chance, prompts, tokens, hit_share) for _ in range(PLANNED_JOBS)]
            for _ in range(PLANS)
        ]
        case = (PLANNED_JOBS, tokens, PLANNED_INSTANCES, cached, hit_share)
        new = _time_plans(loaded_scheduler(policy, prompts, PLANNED_INSTANCES), windows)
        known = _time_plans(
            loaded_scheduler(policy, prompts, PLANNED_INSTANCES), windows[:1] * PLANS
        )
        yield PlanRow("new", *case, *_per_job(new))
        yield PlanRow("known", *case, *_per_job(known))


def _per_job(took: Timing) -> tuple[float, float]:
    return round(took.p50_us / PLANNED_JOBS, 1), round(took.p99_us / PLANNED_JOBS, 1)


def _time_plans(scheduler: Scheduler, windows: Sequence[Sequence[WaitingJob]]) -> Timing:
    seconds = count(step=2 * HISTORY_S)
    plan = [
        partial(scheduler.plan, jobs, credit_s=CREDIT_S, now_s=next(seconds)) for jobs in windows
    ]
    return time_each(plan, undo=[partial(_forget_all, scheduler, jobs) for jobs in windows])


def _forget_all(scheduler: Scheduler, jobs: Sequence[WaitingJob]) -> None:
    for job in jobs:
        scheduler.forget(job.job_id)


def _cached_prompts(chance: random.Random, cached: int) -> list[list[int]]:
    return [random_keys(chance, PROMPT_BLOCKS) for _ in range(max(1, cached // PROMPT_BLOCKS))]


def _job(
    chance: random.Random, prompts: Sequence[list[int]], tokens: int, hit_share: float
) -> WaitingJob:
    """A prompt that begins like a cached one as far as `hit_share` of its blocks."""
    blocks = tokens // BLOCK_SIZE
    held = int(blocks * hit_share)
    keys = chance.choice(prompts)[:held] + random_keys(chance, blocks - held)
    spec = JobSpec(tokens, SamplingParams())
    return WaitingJob(JobId(f"{chance.getrandbits(64):x}"), "ingress", spec, pack_keys(keys))
