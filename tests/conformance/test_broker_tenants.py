"""What one tenant may submit: its jobs at once, and its jobs a second. On both brokers."""

import pytest
from queue_support import WIDE, Make
from redis import Redis
from support import redis_broker, submission

from preble.broker import Broker
from preble.broker.bounds import LONGEST_LIST, Allowance
from preble.errors import QueueFull
from preble.messages import JobId, Submission

pytestmark = pytest.mark.anyio


def jobs(tenant: str, number: int, first: int = 0) -> list[Submission]:
    return [submission(f"{tenant}{at}", tenant=tenant) for at in range(first, first + number)]


async def refusal(broker: Broker, batch: list[Submission]) -> QueueFull | None:
    [outcome] = await broker.admit([batch])
    if isinstance(outcome, QueueFull):
        return outcome
    assert outcome is None or isinstance(outcome, Allowance)
    return None


async def test_a_tenant_holds_so_many_jobs_and_others_are_not_bound_by_it(make: Make) -> None:
    broker = await make(max_tenant_jobs=3)
    assert await refusal(broker, jobs("a", 3)) is None
    full = await refusal(broker, jobs("a", 1, 3))
    assert full
    assert "its 3 jobs of one tenant" in str(full)
    assert await refusal(broker, jobs("b", 3)) is None


async def test_a_list_is_taken_whole_or_not_at_all(make: Make) -> None:
    """Also one of several tenants, of which one is too many."""
    broker = await make(max_tenant_jobs=3)
    assert await refusal(broker, [*jobs("b", 1), *jobs("a", 4)])
    assert (await broker.counts.stats()).waiting == 0
    assert await refusal(broker, [*jobs("b", 1), *jobs("a", 3)]) is None


async def test_what_has_ended_makes_room(make: Make) -> None:
    broker = await make(max_tenant_jobs=3)
    await refusal(broker, jobs("a", 3))
    await broker.cancel([JobId("a1")])
    assert await refusal(broker, jobs("a", 1, 3)) is None
    assert await refusal(broker, jobs("a", 1, 4))


async def test_what_comes_again_is_no_more(make: Make) -> None:
    broker = await make(max_tenant_jobs=3, tenant_jobs_per_s=1e-6)
    assert await refusal(broker, jobs("a", 3)) is None
    assert await refusal(broker, jobs("a", 3)) is None


async def test_of_tenants_without_jobs_nothing_is_kept(redis_url: str) -> None:
    broker = redis_broker(redis_url, "quota", WIDE)
    with Redis.from_url(redis_url) as client:
        client.flushall()
        await refusal(broker, [*jobs("a", 1), *jobs("b", 2)])
        assert client.hgetall("preble:quota:tenants") == {b"a": b"1", b"b": b"2"}
        await broker.cancel([JobId("a0"), JobId("b0"), JobId("b1")])
        assert client.hgetall("preble:quota:tenants") == {}
    await broker.close()


async def test_a_tenant_submits_so_fast_and_no_faster(make: Make) -> None:
    """A job in a hundred seconds, after a list of the longest."""
    broker = await make(tenant_jobs_per_s=0.01)
    assert await refusal(broker, jobs("a", LONGEST_LIST)) is None
    fast = await refusal(broker, jobs("a", 1, LONGEST_LIST))
    assert fast
    assert fast.retry_after_s == pytest.approx(100, rel=0.1)
    assert "0.01 jobs a second" in str(fast)
    assert await refusal(broker, jobs("b", 1)) is None
    assert (await broker.counts.stats()).waiting == LONGEST_LIST + 1


async def test_who_was_silent_for_long_may_submit_again(make: Make) -> None:
    broker = await make(tenant_jobs_per_s=1e9)
    for first in range(5):
        assert await refusal(broker, jobs("a", LONGEST_LIST, first * LONGEST_LIST)) is None


async def test_without_bounds_there_are_none(make: Make) -> None:
    broker = await make()
    assert await refusal(broker, jobs("a", LONGEST_LIST * 3)) is None


async def allowance(broker: Broker, batch: list[Submission]) -> tuple[int, int, float | None]:
    """Most jobs, jobs left, and seconds until it is full again."""
    [outcome] = await broker.admit([batch])
    assert isinstance(outcome, Allowance)
    return outcome.most_jobs, outcome.left_jobs, outcome.full_in_s


async def test_a_tenant_is_told_what_its_quota_leaves(make: Make) -> None:
    broker = await make(max_tenant_jobs=5)
    assert await allowance(broker, jobs("a", 2)) == (5, 3, None)
    assert await allowance(broker, jobs("b", 1)) == (5, 4, None)
    assert await allowance(broker, jobs("a", 1, 2)) == (5, 2, None)
    assert await allowance(broker, [*jobs("b", 1, 1), *jobs("a", 1, 3)]) == (5, 1, None)
    await broker.cancel([JobId("a0")])
    assert await allowance(broker, jobs("a", 1, 4)) == (5, 1, None)


async def test_a_tenant_is_told_what_its_rate_leaves(make: Make) -> None:
    broker = await make(tenant_jobs_per_s=0.5)
    most, left, full_in_s = await allowance(broker, jobs("a", 10))
    assert (most, left) == (LONGEST_LIST, LONGEST_LIST - 10)
    assert full_in_s == pytest.approx(20.0, abs=0.1)


async def test_the_narrower_bound_is_told(make: Make) -> None:
    broker = await make(tenant_jobs_per_s=0.5, max_tenant_jobs=20)
    most, left, full_in_s = await allowance(broker, jobs("a", 10))
    assert (most, left) == (20, 10)
    assert full_in_s


async def test_where_tenants_are_not_bound_or_nothing_is_new_nothing_is_told(make: Make) -> None:
    broker = await make()
    assert await broker.admit([jobs("a", 2)]) == [None]
    bound = await make(max_tenant_jobs=5)
    await bound.admit([jobs("a", 2)])
    assert await bound.admit([jobs("a", 2)]) == [None]
