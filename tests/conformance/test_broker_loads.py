"""How much stands with each instance."""

import pytest
from queue_support import Hands, Make
from support import record

pytestmark = pytest.mark.anyio


async def test_a_pool_without_instances_has_no_loads(make: Make) -> None:
    assert await (await make()).roster.loads() == []


async def test_jobs_are_counted_where_they_stand(make: Make) -> None:
    broker = await make()
    hands = Hands(broker)
    await broker.register(record("gpu1", epoch="e2"), lease_s=60)
    await hands.admit("a", "b")
    await hands.place()
    [first, second] = await broker.roster.loads()
    assert (first.record, first.assigned, first.running) == (record(), 2, 0)
    assert (second.record.instance_id, second.assigned, second.running) == ("gpu1", 0, 0)

    await hands.claim()
    [first, _] = await broker.roster.loads()
    assert (first.assigned, first.running) == (0, 2)


async def test_an_instance_that_retired_is_not_listed(make: Make) -> None:
    broker = await make()
    await broker.register(record(), lease_s=60)
    await broker.retire(record())
    await broker.reap(await Hands(broker).leader(), limit=10)
    assert await broker.roster.loads() == []
