"""Which instances there are, and those that get no more jobs. On both brokers."""

import pytest
from queue_support import Hands, Make
from support import assignment, record

from preble.broker import Broker
from preble.messages import (
    EventBatch,
    InstanceDrained,
    InstanceId,
    InstanceJoined,
    InstanceReport,
    InstanceResumed,
    InstanceView,
    JobsReaped,
    JobState,
)

pytestmark = pytest.mark.anyio

GPU0 = InstanceId("gpu0")


async def only_view(broker: Broker) -> InstanceView:
    (view,) = await broker.roster.views()
    return view


async def test_a_pool_without_instances_has_an_empty_roster(make: Make) -> None:
    assert await (await make()).roster.views() == []


async def test_an_instance_tells_how_it_stands(make: Make) -> None:
    broker = await make()
    hands = Hands(broker)
    await hands.admit("a", "b")
    await hands.run()
    before = await only_view(broker)
    assert (before.state, before.assigned, before.running) == ("ready", 0, 2)
    assert (before.record, before.report, before.drained_at_s) == (record(), None, None)

    report = InstanceReport(kv_used_tokens=30, prompt_tokens=20, hit_tokens=8)
    await broker.renew(record(), [], lease_s=60, report=report)
    await broker.bulletin.publish([EventBatch(GPU0, "e1", seq, ()) for seq in (1, 2)])
    view = await only_view(broker)
    assert view.report == report
    assert (view.unsaved_batches, view.lost_batches) == (2, 0)
    assert view.renewed_ago_s is None or view.renewed_ago_s < 60


async def test_a_drained_instance_is_routed_nothing_and_keeps_what_runs(make: Make) -> None:
    broker = await make()
    hands = Hands(broker)
    await hands.admit("a")
    (running,) = await hands.run()
    assert await broker.roster.drain(GPU0)
    assert (await only_view(broker)).state == "draining"

    await hands.admit("b")
    [waiting] = await broker.peek(10)
    moved = await broker.route(await hands.leader(), [(waiting.ingress, assignment(waiting))])
    assert moved == [False]
    assert await hands.state("b") is JobState.WAITING
    assert await broker.renew(record(), [running.lease], lease_s=60) == []
    await hands.reap()
    assert await hands.state("a") is JobState.RUNNING


async def test_what_waits_for_it_goes_back_in_its_order_and_is_told(make: Make) -> None:
    broker = await make()
    hands = Hands(broker)
    await hands.admit("a", "b", "c")
    await hands.place()
    await hands.admit("d")
    cursor = (await broker.bulletin.load_pool()).cursor
    await broker.roster.drain(GPU0)
    await hands.reap()
    assert [job.job_id for job in await broker.peek(10)] == ["a", "b", "c", "d"]
    told = (await broker.bulletin.follow(cursor, timeout_s=0)).signals
    assert [each for each in told if isinstance(each, InstanceDrained)] == [InstanceDrained(GPU0)]
    [taken] = [each for each in told if isinstance(each, JobsReaped)]
    assert sorted(taken.requeued) == ["a", "b", "c"]
    assert taken.gone == ()
    view = await only_view(broker)
    assert (view.state, view.assigned, view.running) == ("drained", 0, 0)


async def test_draining_twice_is_draining_once(make: Make) -> None:
    broker = await make()
    await broker.register(record(), lease_s=60)
    cursor = (await broker.bulletin.load_pool()).cursor
    assert await broker.roster.drain(GPU0)
    since = (await only_view(broker)).drained_at_s
    assert await broker.roster.drain(GPU0)
    assert (await only_view(broker)).drained_at_s == since
    assert len((await broker.bulletin.follow(cursor, timeout_s=0)).signals) == 1


async def test_an_instance_that_nobody_knows_is_not_drained(make: Make) -> None:
    broker = await make()
    assert not await broker.roster.drain(InstanceId("gpu9"))
    await broker.roster.resume(InstanceId("gpu9"))
    assert await broker.roster.views() == []


async def test_a_drained_instance_is_not_loaded_and_joins_when_it_is_resumed(make: Make) -> None:
    broker = await make()
    hands = Hands(broker)
    await hands.admit("a")
    await hands.run()
    await broker.roster.drain(GPU0)
    pool = await broker.bulletin.load_pool()
    assert (pool.instances, pool.placed) == ((), ())

    await broker.roster.resume(GPU0)
    await broker.roster.resume(GPU0)
    assert (await broker.bulletin.follow(pool.cursor, timeout_s=0)).signals == (
        InstanceResumed(GPU0),
    )
    pool = await broker.bulletin.load_pool()
    assert pool.instances == (record(),)
    assert [job.job_id for job in pool.placed] == ["a"]
    assert (await only_view(broker)).state == "ready"


async def test_a_worker_that_comes_back_under_its_name_is_drained_still(make: Make) -> None:
    broker = await make()
    await broker.register(record(), lease_s=60)
    await broker.roster.drain(GPU0)
    await broker.retire(record())
    await Hands(broker).reap()
    gone = await only_view(broker)
    assert (gone.state, gone.record) == ("gone", None)
    assert gone.drained_at_s is not None

    cursor = (await broker.bulletin.load_pool()).cursor
    await broker.register(record(epoch="e2"), lease_s=60)
    told = (await broker.bulletin.follow(cursor, timeout_s=0)).signals
    assert [each for each in told if isinstance(each, InstanceJoined)] == []
    view = await only_view(broker)
    assert (view.state, view.record) == ("drained", record(epoch="e2"))


async def test_an_instance_whose_lease_ran_out_is_lost(make: Make) -> None:
    broker = await make()
    await broker.register(record(), lease_s=0)
    assert (await only_view(broker)).state == "lost"


async def test_an_instance_that_runs_a_job_alone_is_in_quarantine(make: Make) -> None:
    broker = await make()
    hands = Hands(broker)
    await hands.admit("a")
    for _ in range(2):
        await hands.place()
        assert await hands.claim(lease_s=0)
        await hands.reap()
    await hands.run()
    assert (await only_view(broker)).state == "quarantine"
