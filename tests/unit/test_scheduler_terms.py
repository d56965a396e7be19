"""Terms of a scheduler process: one that ends is followed by the next at once."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from preble import scheduler_process
from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble.messages import LeaderToken
from preble.metrics import SchedulerMetrics
from preble.scheduler_process import LEADER_LEASE_S, SchedulerProcess

pytestmark = pytest.mark.anyio


class Noting(MemoryBroker):
    """Remembers what was asked of the leadership, and under which token jobs are taken back."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock=clock)
        self.led: list[LeaderToken | None] = []

    async def lead(self, holder: str, *, ttl_s: float) -> LeaderToken | None:
        token = await super().lead(holder, ttl_s=ttl_s)
        self.led.append(token)
        return token


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def test_after_its_lease_ran_out_it_leads_again_without_another_lease_between(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_process, "RENEW_EVERY_S", 0.001)
    broker = Noting(clock)
    registry = CollectorRegistry()
    metrics = SchedulerMetrics(registry)
    process = SchedulerProcess(broker, Settings(policy="round_robin"), clock, metrics)
    running = asyncio.create_task(process.run())
    await until(lambda: len(broker.led) > 2)  # it works, and renews beside that
    first = broker.led[0]
    clock.advance(LEADER_LEASE_S + 1)  # it stood still
    await until(lambda: {*broker.led[-3:]} != {first} and len({*broker.led[-3:]}) == 1)
    process.stop()
    await running
    assert registry.get_sample_value("preble_leading") == 0
    assert (registry.get_sample_value("preble_terms_total") or 0) >= 2
    # The clock stands still: who would have to wait for a lease would never lead.
    assert None not in broker.led
    assert broker.led[-1] != first
