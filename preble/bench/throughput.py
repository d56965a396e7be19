"""Jobs through a private stack as fast as it takes them, and the CPU that each process used."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from preble.bench.cpu import cpu_us_by_kind
from preble.bench.load import Target, get, send_all
from preble.bench.pool_totals import totals_of
from preble.config import Settings
from preble.serve.private import PrivateStack

CONCURRENCY: Final = 64
POLL_S: Final = 0.02

Say = Callable[[str], None]


def without_engine(settings: Settings) -> Settings:
    """For a stack whose engines do nothing, so that all that is measured is Preble's."""
    return msgspec.structs.replace(
        settings, engine="noop", slots=256, log_level="warning", api_key=""
    )


class ThroughputRow(msgspec.Struct, frozen=True):
    """One load, from the first submit to the last recorded result."""

    load: str
    jobs: int
    jobs_per_s: float
    cpu_us_per_job: dict[str, float]


class Throughput:
    """Measures one load after another on one stack, which gets no other jobs.

    Args:
        stack: With engines that do nothing.
        say: Told what is being measured.
    """

    def __init__(self, stack: PrivateStack, say: Say) -> None:
        self._stack = stack
        self._say = say
        self._jobs = Target(stack.url, "/v1/jobs")
        self._metrics = Target(stack.url, "/metrics")
        self._submitted = 0

    async def measure(self, load: str, bodies: Sequence[bytes], jobs_in_body: int) -> ThroughputRow:
        """Submit bodies and wait for the last result. Raises: LoadFailed if one is refused."""
        self._say(load)
        jobs = len(bodies) * jobs_in_body
        before_us = cpu_us_by_kind(self._stack.pid)
        client_before_s = time.process_time()
        started_s = time.perf_counter()
        requests = [self._jobs.post(body) for body in bodies]
        await send_all(self._jobs, requests, concurrency=CONCURRENCY)
        client_s = time.process_time() - client_before_s
        await self.wait_for(jobs)
        elapsed_s = time.perf_counter() - started_s
        after_us = cpu_us_by_kind(self._stack.pid)
        cpu = {kind: round((after_us[kind] - us) / jobs, 1) for kind, us in before_us.items()}
        cpu["client"] = round(client_s * 1e6 / jobs, 1)
        return ThroughputRow(load, jobs, round(jobs / elapsed_s, 1), cpu)

    async def wait_for(self, new_jobs: int) -> None:
        """Wait until that many more jobs have ended."""
        self._submitted += new_jobs
        while await self._ended() < self._submitted:  # noqa: ASYNC110  # another process
            await asyncio.sleep(POLL_S)

    async def _ended(self) -> int:
        return totals_of((await get(self._metrics)).decode()).ended
