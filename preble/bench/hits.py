"""Whether hits come as predicted: the tokens foretold as jobs start, beside those delivered.

Prompts in groups that share a prefix go the whole way through a private stack, so many at a
time, in an order that mixes the groups. Token ids are random, so nothing else is shared.
"""

import random
import time
from collections.abc import Callable, Sequence

import msgspec

from preble.client import Client, Job, JobFields
from preble.config import Settings
from preble.errors import PrebleError
from preble.serve.plan import worker_settings
from preble.serve.private import private_stack

_FIRST_ID, _LAST_ID = 1_000, 15_000
"""Ordinary words in any vocabulary we serve."""


class Workload(msgspec.Struct, frozen=True):
    """What is sent."""

    jobs: int = 96
    groups: int = 12
    prefix_tokens: int = 256
    unique_tokens: int = 40
    output_tokens: int = 4
    concurrency: int = 16
    seed: int = 1


class HitFigures(msgspec.Struct, frozen=True):
    """What came of it; a prediction is *exact* if it equals the tokens delivered."""

    engine: str
    instances: int
    kv_capacity_tokens: int
    workload: Workload
    wall_s: float
    completed: int
    prompt_tokens: int
    resident_tokens: int
    expected_tokens: int
    delivered_tokens: int
    share_predicted: float
    """Of the jobs, those with a prediction above zero."""
    share_exact: float
    share_exact_resident: float
    """Of the jobs for which only resident hits were predicted."""
    share_exact_expected: float
    """Of the jobs for which hits were predicted that were still to be computed."""
    inexact: list[tuple[int, int, int]]
    """Resident, expected and delivered tokens of the jobs that were not exact, 50 at most."""


class HitsFailed(PrebleError):
    """A job of the benchmark did not complete."""


def run(settings: Settings, workload: Workload, say: Callable[[str], None]) -> HitFigures:
    """Run the workload on a stack of its own.

    Raises:
        HitsFailed: If a job fails.
        PrebleError: If the stack cannot be run.
    """
    say(f"{settings.workers} instances of engine {settings.engine}: starting")
    with (
        private_stack(settings) as stack,
        Client(stack.url, api_key=settings.api_key) as client,
    ):
        say(f"{workload.jobs} jobs, {workload.concurrency} at a time")
        began_s = time.monotonic()
        jobs = _run_jobs(client, prompts_of(workload), workload.concurrency)
        wall_s = time.monotonic() - began_s
    return figures_of(settings, workload, jobs, wall_s)


def prompts_of(workload: Workload) -> list[JobFields]:
    """What is sent, in this order; the same for the same seed."""
    rng = random.Random(workload.seed)  # noqa: S311 - data, not secrets

    def ids(count: int) -> list[int]:
        return [rng.randint(_FIRST_ID, _LAST_ID) for _ in range(count)]

    prefixes = [ids(workload.prefix_tokens) for _ in range(workload.groups)]
    groups = [number % workload.groups for number in range(workload.jobs)]
    rng.shuffle(groups)
    return [
        {
            "input_ids": prefixes[group] + ids(workload.unique_tokens),
            "sampling_params": {"max_new_tokens": workload.output_tokens, "temperature": 0.0},
        }
        for group in groups
    ]


def _run_jobs(client: Client, prompts: Sequence[JobFields], concurrency: int) -> list[Job]:
    """Submit one for each that ended."""
    ended: list[Job] = []
    sent = 0
    with client.watch() as watch:
        while len(ended) < len(prompts):
            free = min(concurrency - watch.num_open, len(prompts) - sent)
            if free:
                watch.add(client.submit(prompts[sent : sent + free]))
                sent += free
            ended += watch.look()
    return ended


def figures_of(
    settings: Settings, workload: Workload, jobs: Sequence[Job], wall_s: float
) -> HitFigures:
    """What the ended jobs came to.

    Raises:
        HitsFailed: If one did not complete.
    """
    rows: list[tuple[int, int, int]] = []
    for job in jobs:
        if job.result is None:
            reason = f"{job.error.code}: {job.error.message}" if job.error else job.status
            msg = f"job {job.id} did not complete: {reason}"
            raise HitsFailed(msg)
        foretold = job.result.prediction
        delivered = job.result.usage.cached_tokens
        rows.append((foretold.resident_tokens, foretold.expected_tokens, delivered))
    return HitFigures(
        engine=settings.engine,
        instances=len(worker_settings(settings)),
        kv_capacity_tokens=settings.kv_capacity_tokens,
        workload=workload,
        wall_s=round(wall_s, 1),
        completed=len(jobs),
        prompt_tokens=sum(job.prompt_tokens for job in jobs),
        resident_tokens=sum(resident for resident, _, _ in rows),
        expected_tokens=sum(expected for _, expected, _ in rows),
        delivered_tokens=sum(delivered for _, _, delivered in rows),
        share_predicted=_share(rows, lambda row: row[0] + row[1] > 0),
        share_exact=_share(rows, _is_exact),
        share_exact_resident=_share([row for row in rows if row[0] and not row[1]], _is_exact),
        share_exact_expected=_share([row for row in rows if row[1]], _is_exact),
        inexact=[row for row in rows if not _is_exact(row)][:50],
    )


def _is_exact(row: tuple[int, int, int]) -> bool:
    resident, expected, delivered = row
    return resident + expected == delivered


def _share(
    rows: Sequence[tuple[int, int, int]], is_so: Callable[[tuple[int, int, int]], bool]
) -> float:
    return round(sum(map(is_so, rows)) / max(1, len(rows)), 4)
