"""Three times what the pool can do, from tenants in no hurry, beside one who waits for answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Final

from chaos.checker import Offence
from chaos.crowd import Crowd
from chaos.outcome import Outcome
from chaos.pace import Pace
from chaos.pool import Pool
from chaos.records import Entry, looks, submissions
from chaos.session import Session
from chaos.stage import built_pool
from chaos.wanted import Wanted
from chaos.workload import Batch, draw_job

from preble.config import Priority, Settings
from preble.cost_model import StepRequest, load_cost_model
from preble.quantiles import quantile

TIMES: Final = 3
"""Of the capacity, that is offered."""
CHAT_SHARE: Final = 0.05
"""Of the capacity, that the tenant in a hurry asks for."""
WARM_UP_S: Final = 8.0
MEASURED_S: Final = 12.0
"""Both at most: no longer than the overload itself."""
MUCH_JOBS_PER_S: Final = 400.0
"""More than the pool can do, to learn what it can."""
LIST: Final = 20
FLOODERS: Final = ("ant", "bee", "cat", "dog")
CHAT: Final = "chat"
SLOTS: Final = 8
SETTINGS: Final = {
    "emulated_speed": "1", "slots": str(SLOTS), "max_jobs": "1000", "max_tenant_jobs": "200",
    "lease_s": "5",
}  # fmt: skip
"""In real time, so that seconds of predicted prefill are seconds."""
_P50, _P99 = 0.5, 0.99


class Overload:
    """Offers too much, and measures.

    Args:
        session: With the pool.
        seconds: For how long.
    """

    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self._random = Random(f"overload {session.wanted.seed}")  # noqa: S311  # no secret
        self._number = 0
        self.crowd = Crowd(session.calls, iter(()), 0, Pace(0, 0), session.random)
        self.capacity_per_s = 0.0

    async def work(self) -> None:
        """Learn the capacity, offer three times as much, then wait for all that was accepted."""
        pool = self._session.pool
        warm_up_s, measured_s = min(WARM_UP_S, self._seconds), min(MEASURED_S, self._seconds)
        async with asyncio.TaskGroup() as tasks:
            flooding = tasks.create_task(self._flood(MUCH_JOBS_PER_S, warm_up_s + measured_s))
            await asyncio.sleep(warm_up_s)
            before = await asyncio.to_thread(pool.completed)
            await flooding
            completed = await asyncio.to_thread(pool.completed) - before
        self.capacity_per_s = completed / measured_s
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flood(TIMES * self.capacity_per_s, self._seconds))
            tasks.create_task(self._chat(CHAT_SHARE * self.capacity_per_s, self._seconds))
        await asyncio.to_thread(pool.await_empty)

    async def _flood(self, jobs_per_s: float, seconds: float) -> None:
        """Lists at even times, whatever became of those before; what is refused is dropped."""
        async with asyncio.TaskGroup() as tasks:
            async for _ in _ticks(jobs_per_s / LIST, seconds):
                tenant = self._random.choice(FLOODERS)
                tasks.create_task(self.crowd.submit(self._batch(tenant, "batch", LIST)))

    async def _chat(self, jobs_per_s: float, seconds: float) -> None:
        """One by one; each is followed to its end."""
        async with asyncio.TaskGroup() as tasks:
            async for _ in _ticks(jobs_per_s, seconds):
                tasks.create_task(self.crowd.serve(self._batch(CHAT, "high", 1)))

    def _batch(self, tenant: str, priority: Priority, size: int) -> Batch:
        self._number += 1
        jobs = tuple(draw_job(self._random, long=0, impatient=0) for _ in range(size))
        key = f"{tenant}-{self._number}"
        return Batch(key, tenant, priority, jobs, gives_up=tenant != CHAT)


async def run(wanted: Wanted) -> Outcome:
    """`wanted.seconds` of it."""
    with built_pool(wanted, SETTINGS) as pool:
        session = Session(pool, wanted)
        overload = Overload(session, wanted.seconds)
        await session.run(overload.crowd, overload.work())
        waits_s = sorted(_waits_s(session.log.entries))
        title = f"{TIMES} times the capacity for {wanted.seconds:g} s, seed {wanted.seed}"
        notes = (
            f"capacity {overload.capacity_per_s:.1f} jobs/s", _wait_note(waits_s),
            _redis_note(pool),
        )  # fmt: skip
        offences = _offences(session.log.entries, waits_s)
        return await session.outcome(title, notes=notes, offences=offences)


def _offences(entries: Sequence[Entry], waits_s: Sequence[float]) -> list[Offence]:
    p99_s = quantile(waits_s, _P99)
    found = [Offence("wait", CHAT, f"p99 {p99_s:.2f} s")] if p99_s > _longest_wait_s() else []
    if all(each.status != 429 for each in submissions(entries)):
        found.append(Offence("overload", "", "nothing was refused: it was none"))
    return found


def _wait_note(waits_s: Sequence[float]) -> str:
    p50_s, p99_s = quantile(waits_s, _P50), quantile(waits_s, _P99)
    return (
        f"{CHAT}: {len(waits_s)} jobs waited {p50_s:.2f} s, p99 {p99_s:.2f} s; "
        f"to be {_longest_wait_s():.2f} s at most"
    )


def _waits_s(entries: Sequence[Entry]) -> list[float]:
    """From submission to the start in the engine, of jobs in a hurry; seen once or more often."""
    of_chat = {
        job_id
        for each in submissions(entries)
        for job_id in each.job_ids
        if each.key.startswith(CHAT)
    }
    ends = {
        each.job_id: each for each in looks(entries) if each.job_id in of_chat and each.engine_s
    }
    return [
        (each.ended_at_s or 0) - (each.created_at_s or 0) - (each.engine_s or 0)
        for each in ends.values()
    ]


def _longest_wait_s() -> float:
    """The credit and one step: a full chunk of prefill beside all slots but one that decode."""
    settings = Settings()
    decoding = [StepRequest(1, settings.block_size)] * (SLOTS - 1)
    step = [StepRequest(settings.chunk_tokens, settings.chunk_tokens), *decoding]
    return settings.credit_s + load_cost_model(settings.cost_model).step_s(step)


def _redis_note(pool: Pool) -> str:
    with pool.server.client() as client:
        peak = int(client.info("memory")["used_memory_peak"])
    return f"Redis held {peak / 1e6:.0f} MB at most, results of all jobs with it"


async def _ticks(per_s: float, seconds: float) -> AsyncIterator[None]:
    """At even times."""
    began_s = time.monotonic()
    for number in range(int(per_s * seconds)):
        await asyncio.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        yield
