"""The scheduler process: how much of what waits it lays before the scheduler at once."""

import pytest
from support import record, submission

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble.scheduler_process import Leadership

pytestmark = pytest.mark.anyio


async def test_each_turn_looks_at_a_window_of_each_queue_and_a_longer_one_of_batch_queues(
    clock: ManualClock,
) -> None:
    broker = MemoryBroker(clock=clock)
    names = ("1", "2", "3", "4")
    await broker.admit(
        [
            [submission(f"n{name}") for name in names]
            + [submission(f"b{name}", priority="batch") for name in names]
        ]
    )
    await broker.register(record(), lease_s=60)
    token = await broker.lead("one", ttl_s=60)
    assert token
    settings = Settings(policy="round_robin", binding="eager", window_jobs=1, batch_window_jobs=3)
    leadership = Leadership(broker, settings, clock, token)
    await leadership.load()

    await leadership.turn()

    waiting = [job.job_id for job in await broker.peek(10)]
    assert waiting == ["b4", "n2", "n3", "n4"]
