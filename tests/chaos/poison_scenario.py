"""Prompts that kill the process of any worker, among jobs that do no harm."""

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import Final

from chaos.crowd import Crowd
from chaos.faults_scenario import CLIENTS
from chaos.frail_worker import POISON_TOKEN
from chaos.outcome import Outcome
from chaos.pace import Pace
from chaos.pool import Pool
from chaos.records import submissions
from chaos.session import Session
from chaos.stage import built_pool
from chaos.wanted import Wanted
from chaos.workload import Batch, Job, draw_batches

POISON: Final = 5
"""Jobs of that kind."""
KILLS: Final = 2
"""By an operator, meanwhile: of one worker, and of another."""
KILL_EVERY_S: Final = 6.0
_KEY: Final = "poison"


async def run(wanted: Wanted) -> Outcome:
    """`wanted.jobs` healthy ones; only those that are poison may fail."""
    with built_pool(wanted, {}) as pool:
        session = Session(pool, wanted)
        poisoned = min(POISON, wanted.faults)
        batches = chain(_poison(poisoned), draw_batches(wanted.seed))
        num_jobs = poisoned + wanted.jobs
        crowd = Crowd(session.calls, batches, num_jobs, Pace(0, 0), session.random)
        await session.run(crowd, crowd.work(CLIENTS), _kill_some(pool))
        poison = {
            job_id
            for each in submissions(session.log.entries)
            for job_id in each.job_ids
            if each.key.startswith(_KEY)
        }
        title = f"poison, seed {wanted.seed}: {wanted.jobs:,} healthy jobs beside {len(poison)}"
        return await session.outcome(title, may_fail=poison)


def _poison(number: int) -> Iterator[Batch]:
    for each in range(number):
        job = Job((POISON_TOKEN, *range(each, each + 100)), max_new_tokens=4)
        yield Batch(f"{_KEY}-{each}", "mallory", "normal", (job,))


async def _kill_some(pool: Pool) -> None:
    for name in pool.workers[:KILLS]:
        await asyncio.sleep(KILL_EVERY_S)
        pool.kill(name)
        pool.launch(name)
