"""Every process is told to end and started again, one after the other, under load."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from chaos.checker import Offence
from chaos.crowd import Crowd
from chaos.faults_scenario import CLIENTS
from chaos.outcome import Outcome
from chaos.pace import Pace
from chaos.pool import Pool
from chaos.session import Session
from chaos.stage import built_pool
from chaos.wanted import Wanted
from chaos.workload import Batch, draw_batches

ORDER: Final = ("api0", "scheduler0", "gpu0", "api1", "scheduler1", "gpu1", "gpu2", "gpu3")


class Round:
    """One round of restarts.

    Args:
        pool: Which.
        names: Of its processes, in the order in which they are restarted.
    """

    def __init__(self, pool: Pool, names: Sequence[str]) -> None:
        self._pool = pool
        self.names = names
        self.is_over = False
        self.offences: list[Offence] = []

    async def work(self) -> None:
        """Restart each, and wait until the pool is whole again."""
        for name in self.names:
            if status := await self._pool.end(name):
                self.offences.append(Offence("restart", name, f"ended with status {status}"))
            self._pool.launch(name)
            await asyncio.to_thread(self._pool.await_formed, self._pool.kind.forming_s)
        self.is_over = True


async def run(wanted: Wanted) -> Outcome:
    """Until `wanted.faults` processes, or all, have been restarted, and all jobs have ended."""
    with built_pool(wanted, {}) as pool:
        session, restarts = Session(pool, wanted), Round(pool, ORDER[: wanted.faults])
        batches = _until_over(draw_batches(wanted.seed), restarts)
        crowd = Crowd(session.calls, batches, wanted.jobs, Pace(0, 0), session.random)
        await session.run(crowd, crowd.work(CLIENTS), restarts.work())
        title = f"rolling restart of {len(restarts.names)} processes, seed {wanted.seed}"
        return await session.outcome(title, offences=restarts.offences)


def _until_over(batches: Iterator[Batch], restarts: Round) -> Iterator[Batch]:
    for batch in batches:
        if restarts.is_over:
            return
        yield batch
