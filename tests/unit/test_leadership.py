"""One term of a leader: how much of what waits it lays before the scheduler at once."""

import pytest
from prometheus_client import CollectorRegistry
from support import completed, record, submission

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble.leadership import Leadership
from preble.messages import (
    EventBatch,
    InstanceId,
    JobId,
    JobState,
    LeaderToken,
    Reaped,
    Submission,
)
from preble.metrics import SchedulerMetrics

pytestmark = pytest.mark.anyio


async def leading(
    clock: ManualClock, settings: Settings, *submissions: Submission,
    kind: type[MemoryBroker] = MemoryBroker, metrics: SchedulerMetrics | None = None,
) -> tuple[MemoryBroker, Leadership]:  # fmt: skip
    """A leader of a pool with one instance, in which these jobs wait."""
    broker = kind(clock=clock)
    await broker.admit([submissions])
    await broker.register(record(), lease_s=60)
    token = await broker.lead("one", ttl_s=60)
    assert token
    leadership = Leadership(broker, settings, clock, token, metrics or SchedulerMetrics(None))
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


class LosingReplies(MemoryBroker):
    """Each reply of REAP is lost, and the call repeated: the second finds nothing left to do."""

    async def reap(self, token: LeaderToken, *, limit: int) -> Reaped:
        await super().reap(token, limit=limit)
        return await super().reap(token, limit=limit)


LATE = Settings(policy="least_outstanding", binding="late", credit_s=1e9)


async def test_what_was_taken_back_is_placed_again_though_the_reply_was_lost(
    clock: ManualClock,
) -> None:
    broker, leadership = await leading(clock, LATE, submission("a"), kind=LosingReplies)
    for _ in range(2):
        await leadership.turn()  # places it, and sees that nothing else waits
    await broker.claim(record(), number=1, jobs=1, tokens=1_000, num_held=0, lease_s=0)
    clock.advance(1)
    await leadership.turn()
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.attempt) == (JobState.ASSIGNED, 1)


async def test_an_instance_that_is_gone_gets_nothing_though_the_reply_was_lost(
    clock: ManualClock,
) -> None:
    jobs = [submission(str(number)) for number in range(4)]
    broker, leadership = await leading(clock, LATE, kind=LosingReplies)
    await broker.register(record("gpu1"), lease_s=60)
    await leadership.turn()
    await broker.retire(record("gpu1"))
    clock.advance(1)
    await leadership.turn()
    await broker.admit([jobs])
    for _ in range(2):
        await leadership.turn()
    assert await left(broker) == []


async def test_an_instance_that_left_before_it_was_heard_of_gets_nothing(
    clock: ManualClock,
) -> None:
    """Its worker failed at its start: the leader takes it off before it hears that it came."""
    broker, leadership = await leading(clock, LATE)
    await broker.register(record("gpu1"), lease_s=60)
    await broker.retire(record("gpu1"))
    clock.advance(1)
    await leadership.turn()
    await broker.admit([[submission(str(number)) for number in range(4)]])
    for _ in range(2):
        await leadership.turn()
    assert await left(broker) == []


async def test_jobs_of_the_quarantine_are_placed_one_at_a_time(clock: ManualClock) -> None:
    """Each makes an instance stand still until it is alone."""
    settings = Settings(policy="least_outstanding", binding="eager")
    broker, leadership = await leading(clock, settings, submission("a"), submission("b"))
    await broker.register(record("gpu1"), lease_s=60)
    await leadership.turn()
    for number in (1, 2):  # their workers die
        for instance in ("gpu0", "gpu1"):
            await broker.claim(
                record(instance), number=number, jobs=1, tokens=100, num_held=0, lease_s=0
            )
        clock.advance(1)
        await leadership.turn()
    await leadership.turn()
    assert await left(broker) == ["b"]
    held = [
        await broker.claim(record(instance), number=3, jobs=1, tokens=100, num_held=0, lease_s=60)
        for instance in ("gpu0", "gpu1")
    ]
    (alone,) = [job for claimed in held for job in claimed]
    assert alone.runs_alone
    await broker.finish(record(), [completed(alone.lease)])
    for _ in range(2):
        await leadership.turn()
    assert await left(broker) == []


# Instances that are drained.


async def placed_on(broker: MemoryBroker, *names: str) -> list[str | None]:
    views = [await broker.view(JobId(name)) for name in names]
    return [view.instance_id if view else None for view in views]


async def test_a_drained_instance_gets_no_jobs_and_a_resumed_one_does(clock: ManualClock) -> None:
    settings = Settings(policy="least_outstanding", binding="eager")
    broker, leadership = await leading(clock, settings)
    await broker.register(record("gpu1"), lease_s=60)
    await broker.roster.drain(InstanceId("gpu0"))
    await leadership.turn()  # hears of both
    await broker.admit([[submission("a"), submission("b")]])
    await leadership.turn()
    await leadership.turn()
    assert await placed_on(broker, "a", "b") == ["gpu1", "gpu1"]

    await broker.roster.resume(InstanceId("gpu0"))
    await leadership.turn()  # hears of it
    await broker.admit([[submission("c")]])
    for _ in range(2):
        await leadership.turn()
    assert await placed_on(broker, "c") == ["gpu0"]


async def test_what_waited_for_a_drained_instance_goes_to_another(clock: ManualClock) -> None:
    settings = Settings(policy="round_robin", binding="eager")
    broker, leadership = await leading(clock, settings, submission("a"))
    await leadership.turn()
    assert await placed_on(broker, "a") == ["gpu0"]
    await broker.register(record("gpu1"), lease_s=60)
    await broker.roster.drain(InstanceId("gpu0"))
    clock.advance(1)  # until the next reap
    for _ in range(3):
        await leadership.turn()
    assert await placed_on(broker, "a") == ["gpu1"]


async def test_jobs_that_a_resumed_instance_kept_count_there(clock: ManualClock) -> None:
    """Or it would seem idle, and be given more than the others."""
    settings = Settings(policy="least_outstanding", binding="eager")
    broker, leadership = await leading(clock, settings, submission("a"))
    await leadership.turn()
    await broker.claim(record(), number=1, jobs=1, tokens=100, num_held=0, lease_s=60)
    await broker.roster.drain(InstanceId("gpu0"))
    await broker.register(record("gpu1"), lease_s=60)
    await broker.roster.resume(InstanceId("gpu0"))
    await leadership.turn()
    await broker.admit([[submission("b")]])
    for _ in range(2):
        await leadership.turn()
    assert await placed_on(broker, "b") == ["gpu1"]


async def test_a_new_leader_knows_who_is_drained(clock: ManualClock) -> None:
    settings = Settings(policy="round_robin", binding="eager")
    broker, _ = await leading(clock, settings, submission("a"))
    await broker.roster.drain(InstanceId("gpu0"))
    token = await broker.lead("one", ttl_s=60)
    assert token
    second = Leadership(broker, settings, clock, token, SchedulerMetrics(None))
    await second.load()
    await second.turn()
    assert await left(broker) == ["a"]


async def test_it_counts_what_it_sees_decides_and_misses(clock: ManualClock) -> None:
    registry = CollectorRegistry()
    settings = Settings(policy="round_robin", binding="eager")
    broker, leadership = await leading(
        clock, settings, submission("a"), submission("b"), metrics=SchedulerMetrics(registry)
    )
    await leadership.turn()
    (joined,) = await broker.roster.views()
    assert joined.record
    await broker.bulletin.publish(
        [EventBatch(InstanceId("gpu0"), joined.record.epoch, seq, ()) for seq in (1, 3)]
    )
    await leadership.turn()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"preble_{name}", labels)

    assert value("leading") == value("terms_total") == 1
    assert value("jobs_peeked_total") == 2
    assert value("decisions_total", policy="round_robin", reason="turn") == 2
    assert value("decision_seconds_count") == 1
    assert value("event_batches_followed_total") == value("event_lag_batches") == 2
    assert value("event_gaps_total") == 1
    assert value("placeable_instances") == 1
    assert value("load_imbalance_ratio") == 1


async def test_it_counts_what_it_takes_from_the_dead(clock: ManualClock) -> None:
    registry = CollectorRegistry()
    settings = Settings(policy="round_robin", binding="eager")
    broker, leadership = await leading(
        clock, settings, submission("a"), metrics=SchedulerMetrics(registry)
    )
    await leadership.turn()
    clock.advance(59)
    await broker.lead("one", ttl_s=60)
    clock.advance(2)  # the instance has been silent for its whole lease
    await leadership.turn()
    assert registry.get_sample_value("preble_instances_gone_total") == 1
    requeued = {"outcome": "requeued"}
    assert registry.get_sample_value("preble_jobs_reaped_total", requeued) == 1
    assert registry.get_sample_value("preble_placeable_instances") == 0
