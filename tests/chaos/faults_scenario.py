"""Faults of all kinds, while clients submit, look, cancel and come again."""

from typing import Final

from chaos.crowd import Crowd
from chaos.faults import CABLE_PULLED, CLOCK_JUMPED, DISK_FULL, KINDS, Kind
from chaos.injector import Injector, draw_schedule
from chaos.outcome import Outcome
from chaos.pace import Pace
from chaos.pool import Pool
from chaos.session import Session
from chaos.stage import built_pool
from chaos.wanted import Wanted
from chaos.workload import draw_batches

CLIENTS: Final = 64
BOUNDS: Final = {"max_jobs": "1000"}
"""Now and then a client is refused."""


async def run(wanted: Wanted) -> Outcome:
    """The whole of it."""
    with built_pool(wanted, BOUNDS) as pool:
        session = Session(pool, wanted)
        pace = Pace(wanted.jobs, wanted.faults)
        injector = Injector(pool, pace)
        batches = draw_batches(wanted.seed)
        crowd = Crowd(session.calls, batches, wanted.jobs, pace, session.random)
        schedule = draw_schedule(wanted.seed, wanted.faults, _kinds(pool))
        await session.run(crowd, crowd.work(CLIENTS), injector.work(schedule))
        title = f"seed {wanted.seed}, {wanted.jobs:,} jobs, {wanted.faults} faults"
        return await session.outcome(title, faults=injector.done)


def _kinds(pool: Pool) -> list[Kind]:
    """All that can be done here."""
    optional = {
        CABLE_PULLED: pool.namespace, DISK_FULL: pool.disk, CLOCK_JUMPED: pool.server.faketime,
    }  # fmt: skip
    return [*KINDS, *(kind for kind, means in optional.items() if means)]
