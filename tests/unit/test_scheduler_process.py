"""The scheduler process: how much of what waits it lays before the scheduler at once."""

import pytest
from support import record, submission

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble.messages import Submission
from preble.scheduler_process import Leadership

pytestmark = pytest.mark.anyio


async def leading(
    clock: ManualClock, settings: Settings, *submissions: Submission
) -> tuple[MemoryBroker, Leadership]:
    """A leader of a pool with one instance, in which these jobs wait."""
    broker = MemoryBroker(clock=clock)
    await broker.admit([submissions])
    await broker.register(record(), lease_s=60)
    token = await broker.lead("one", ttl_s=60)
    assert token
    leadership = Leadership(broker, settings, clock, token)
    await leadership.load()
    return broker, leadership


async def left(broker: MemoryBroker) -> list[str]:
    return [job.job_id for job in await broker.peek(100)]


async def test_each_turn_looks_at_a_window_of_each_queue_and_a_longer_one_of_batch_queues(
    clock: ManualClock,
) -> None:
    names = ("1", "2", "3", "4")
    settings = Settings(policy="round_robin", binding="eager", window_jobs=1, batch_window_jobs=3)
    broker, leadership = await leading(
        clock, settings, *(submission(f"n{name}") for name in names),
        *(submission(f"b{name}", priority="batch") for name in names),
    )  # fmt: skip

    await leadership.turn()

    assert await left(broker) == ["b4", "n2", "n3", "n4"]


async def test_while_all_it_sees_is_placed_it_looks_twice_as_far_up_to_the_batch_window(
    clock: ManualClock,
) -> None:
    settings = Settings(policy="round_robin", binding="eager", window_jobs=2, batch_window_jobs=5)
    broker, leadership = await leading(clock, settings, *(submission(f"{n}") for n in range(20)))
    seen = list[int]()
    while waiting := await left(broker):
        await leadership.turn()
        seen.append(len(waiting) - len(await left(broker)))
    assert seen == [2, 4, 5, 5, 4]


async def test_a_window_from_which_jobs_are_left_is_as_long_as_was_said(
    clock: ManualClock,
) -> None:
    """An instance takes 8 jobs: 1, 2, 4 and one of 8 that are seen. The next begins with 1."""
    settings = Settings(policy="least_outstanding", binding="late", window_jobs=1, credit_s=1e9)
    broker, leadership = await leading(clock, settings, *(submission(f"{n}") for n in range(20)))
    for _ in range(5):
        await leadership.turn()
    assert len(await left(broker)) == 20 - 8
    await broker.register(record("gpu1"), lease_s=60)
    await leadership.turn()  # hears of it

    await leadership.turn()

    assert len(await left(broker)) == 20 - 8 - 1
