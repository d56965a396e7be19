"""What every broker promises. Each test runs on the memory broker and on a real Valkey."""

import asyncio
from typing import Final

import pytest
from msgspec.structs import replace
from support import POOL, assignment, completed, record, submission

from preble.broker import Broker
from preble.errors import InstanceFenced, KeyReused, NotLeader, PoolMismatch, QueueFull
from preble.messages import (
    AllBlocksCleared,
    BlocksRemoved,
    BlocksStored,
    ClaimedJob,
    EventBatch,
    InstanceJoined,
    InstanceRecord,
    JobEnded,
    JobFailure,
    JobId,
    JobsAdmitted,
    JobState,
    LeaderToken,
    Outcome,
    Snapshot,
    pack_keys,
)

pytestmark = pytest.mark.anyio

LEASE_S: Final = 60.0
GONE: Final = 0.0
"""A lease that has run out the moment it is given: expiry without waiting."""


async def admit(broker: Broker, *names: str) -> None:
    """Admit jobs that must be accepted."""
    assert await broker.admit([[submission(name) for name in names]]) == [None]


async def leader(broker: Broker) -> LeaderToken:
    """Lead the pool, or go on leading it."""
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    return token


async def place(broker: Broker, instance: str = "gpu0") -> list[bool]:
    """Route everything that waits to one instance."""
    waiting = await broker.peek(100)
    decided = [(job.ingress, assignment(job, instance)) for job in waiting]
    return await broker.route(await leader(broker), decided)


async def claim(
    broker: Broker, who: InstanceRecord, number: int = 1, *, jobs: int = 8, tokens: int = 10_000,
    num_held: int = 0, lease_s: float = LEASE_S,
) -> list[ClaimedJob]:  # fmt: skip
    """Claim as a worker does."""
    return await broker.claim(
        who, number=number, jobs=jobs, tokens=tokens, num_held=num_held, lease_s=lease_s
    )


async def claimed(broker: Broker, *names: str, lease_s: float = LEASE_S) -> list[ClaimedJob]:
    """Jobs all the way to a running state on gpu0."""
    await admit(broker, *names)
    await broker.register(record(), lease_s=LEASE_S)
    assert all(await place(broker))
    return await claim(broker, record(), lease_s=lease_s)


async def state(broker: Broker, name: str) -> JobState:
    """Where a job stands."""
    view = await broker.view(JobId(name))
    assert view
    return view.state


async def reap(broker: Broker) -> tuple[tuple[JobId, ...], tuple[JobId, ...]]:
    """Reap as the leader: requeued and failed jobs."""
    reaped = await broker.reap(await leader(broker), limit=100)
    return reaped.requeued, reaped.failed


# Pool.


async def test_workers_of_a_pool_serve_the_same_weights(broker: Broker) -> None:
    await broker.agreement.agree_on_weights("a" * 64)
    await broker.agreement.agree_on_weights("a" * 64)
    with pytest.raises(PoolMismatch, match="its weights are aaaaaaaaaaaa, here they are bbbb"):
        await broker.agreement.agree_on_weights("b" * 64)


async def test_the_first_founds_the_pool_and_others_must_agree(broker: Broker) -> None:
    await broker.agreement.join_pool(POOL)
    await broker.agreement.join_pool(POOL)
    with pytest.raises(PoolMismatch, match="block_size is 128 here and 64 in the pool"):
        await broker.agreement.join_pool(replace(POOL, block_size=128))


# Admission.


async def test_what_another_request_made_is_refused_whole(broker: Broker) -> None:
    first = [submission("a", fingerprint="one"), submission("b", fingerprint="one")]
    assert await broker.admit([first, first]) == [None, None]
    other = [submission("c", fingerprint="two"), submission("a", fingerprint="two")]
    [refusal] = await broker.admit([other])
    assert isinstance(refusal, KeyReused)
    assert await broker.view(JobId("c")) is None
    assert [job.job_id for job in await broker.peek(9)] == ["a", "b"]


async def test_admitted_jobs_wait_in_order(broker: Broker) -> None:
    await admit(broker, "a", "b")
    await admit(broker, "c")
    waiting = await broker.peek(2)
    assert [job.job_id for job in waiting] == ["a", "b"]
    assert waiting[0].spec == submission("a").spec
    assert waiting[0].block_keys == pack_keys([1, 2])
    view = await broker.view(JobId("c"))
    assert view
    assert (view.state, view.position, view.attempt) == (JobState.WAITING, 2, 0)


async def test_admitting_twice_is_admitting_once(broker: Broker) -> None:
    await admit(broker, "a")
    once = (await broker.counts.stats()).prompt_bytes
    await admit(broker, "a", "b")
    assert [job.job_id for job in await broker.peek(10)] == ["a", "b"]
    assert (await broker.counts.stats()).prompt_bytes == 2 * once


async def test_an_unknown_job_has_no_view(broker: Broker) -> None:
    assert await broker.view(JobId("nobody")) is None


async def test_a_batch_over_the_job_bound_is_refused_whole(broker: Broker) -> None:
    batch = [submission(f"j{number}") for number in range(101)]
    (refusal, accepted) = await broker.admit([batch, [submission("small")]])
    assert isinstance(refusal, QueueFull)
    assert "100" in str(refusal)
    assert accepted is None
    assert [job.job_id for job in await broker.peek(200)] == ["small"]


async def test_prompt_bytes_are_bounded_and_freed_by_the_end_of_jobs(broker: Broker) -> None:
    big = submission("big", prompt_tokens=2_000)
    assert await broker.admit([[big]]) == [None]
    (refusal,) = await broker.admit([[submission("more", prompt_tokens=1_000)]])
    assert isinstance(refusal, QueueFull)
    await broker.register(record(), lease_s=LEASE_S)
    await place(broker)
    (job,) = await claim(broker, record())
    await broker.finish(record(), [completed(job.lease)])
    assert (await broker.counts.stats()).prompt_bytes == 0
    assert await broker.admit([[submission("more", prompt_tokens=1_000)]]) == [None]


# Leadership.


async def test_one_leads_until_it_resigns_or_its_lease_runs_out(broker: Broker) -> None:
    first = await broker.lead("one", ttl_s=LEASE_S)
    assert first
    assert await broker.lead("two", ttl_s=LEASE_S) is None
    assert await broker.lead("one", ttl_s=LEASE_S) == first
    await broker.resign(first)
    second = await broker.lead("two", ttl_s=LEASE_S)
    assert second
    assert second != first


async def test_a_deposed_leader_moves_nothing(broker: Broker) -> None:
    await admit(broker, "a")
    await broker.register(record(), lease_s=LEASE_S)
    old = await leader(broker)
    await broker.resign(old)
    await broker.lead("other", ttl_s=LEASE_S)
    (job,) = await broker.peek(10)
    with pytest.raises(NotLeader):
        await broker.route(old, [(job.ingress, assignment(job))])
    with pytest.raises(NotLeader):
        await broker.reap(old, limit=10)
    assert await state(broker, "a") is JobState.WAITING


# Routing and claiming.


async def test_routed_jobs_are_assigned_with_their_decision(broker: Broker) -> None:
    await admit(broker, "a")
    await broker.register(record(), lease_s=LEASE_S)
    assert await place(broker) == [True]
    assert await broker.peek(10) == []
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.instance_id, view.position) == (JobState.ASSIGNED, "gpu0", 0)
    assert view.assignment == assignment(submission("a"))


async def test_routing_again_moves_nothing_again(broker: Broker) -> None:
    await admit(broker, "a")
    await broker.register(record(), lease_s=LEASE_S)
    (job,) = await broker.peek(10)
    token = await leader(broker)
    decided = [(job.ingress, assignment(job))]
    assert await broker.route(token, decided) == [True]
    assert await broker.route(token, decided) == [True]
    [running] = await claim(broker, record())
    assert await broker.route(token, decided) == [True]
    assert await broker.route(token, [(job.ingress, assignment(job, "gpu1"))]) == [False]
    await broker.finish(record(), [completed(running.lease)])
    assert await broker.route(token, decided) == [True]
    assert await claim(broker, record(), 2) == []


async def test_nothing_is_routed_to_an_instance_that_is_gone(broker: Broker) -> None:
    await admit(broker, "a")
    assert await place(broker) == [False]
    await broker.register(record(), lease_s=GONE)
    assert await place(broker) == [False]
    assert await state(broker, "a") is JobState.WAITING


async def test_claims_are_bounded_by_jobs_and_tokens_and_keep_order(broker: Broker) -> None:
    await admit(broker, "a", "b", "c", "d")
    await broker.register(record(), lease_s=LEASE_S)
    await place(broker)
    assert [job.job_id for job in await claim(broker, record(), 1, jobs=1)] == ["a"]
    assert [job.job_id for job in await claim(broker, record(), 2, tokens=30)] == ["b", "c"]
    assert await claim(broker, record(), 3, tokens=14) == []
    assert [job.job_id for job in await claim(broker, record(), 4)] == ["d"]


async def test_a_claim_brings_the_prompt_and_counts_the_attempt(broker: Broker) -> None:
    (job,) = await claimed(broker, "a")
    assert (job.prompt, job.spec, job.attempt) == (
        submission("a").prompt, submission("a").spec, 1,
    )  # fmt: skip
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.attempt, view.position) == (JobState.RUNNING, 1, None)
    assert view.assigned_at_s
    assert view.started_at_s
    assert view.submitted_at_s <= view.assigned_at_s <= view.started_at_s


async def test_a_repeated_claim_returns_the_same_jobs(broker: Broker) -> None:
    first = await claimed(broker, "a", "b")
    assert await claim(broker, record()) == first
    await broker.finish(record(), [completed(first[0].lease)])
    assert await claim(broker, record()) == first[1:]


async def test_the_assigned_are_awaited(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    await broker.listen(record().instance_id, timeout_s=0.01)
    waiting = asyncio.create_task(broker.listen(record().instance_id, timeout_s=20))
    await admit(broker, "a")
    await place(broker)
    assert await waiting


# Finishing.


async def test_a_result_is_kept_and_counted(broker: Broker) -> None:
    (job,) = await claimed(broker, "a")
    assert await broker.finish(record(), [completed(job.lease)]) == [True]
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.result) == (JobState.COMPLETED, completed(job.lease).result)
    assert view.ended_at_s
    stats = await broker.counts.stats()
    assert (stats.waiting, stats.assigned, stats.running) == (0, 0, 0)
    assert stats.totals == {
        "completed": 1, "prompt_tokens": 10, "completion_tokens": 2, "hit_tokens_available": 7,
        "hit_tokens_predicted": 5, "hit_tokens_delivered": 4,
    }  # fmt: skip


async def test_a_failure_is_kept(broker: Broker) -> None:
    (job,) = await claimed(broker, "a")
    failure = JobFailure("engine_refused", "prompt is poison")
    assert await broker.finish(record(), [Outcome(job.lease, failure=failure)]) == [True]
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.failure, view.result) == (JobState.FAILED, failure, None)


async def test_finishing_twice_is_finishing_once(broker: Broker) -> None:
    (job,) = await claimed(broker, "a")
    assert await broker.finish(record(), [completed(job.lease, "first")]) == [True]
    assert await broker.finish(record(), [completed(job.lease, "second")]) == [True]
    view = await broker.view(JobId("a"))
    assert view
    assert view.result
    assert view.result.text == "first"
    assert (await broker.counts.stats()).totals["completed"] == 1


async def test_a_late_result_of_a_lost_lease_is_refused(broker: Broker) -> None:
    (old,) = await claimed(broker, "a", lease_s=GONE)
    assert await reap(broker) == (("a",), ())
    assert await broker.finish(record(), [completed(old.lease, "late")]) == [False]
    await place(broker)
    (new,) = await claim(broker, record(), 2)
    assert new.attempt == 2
    assert await broker.finish(record(), [completed(old.lease, "late")]) == [False]
    assert await broker.finish(record(), [completed(new.lease, "good")]) == [True]
    assert await broker.finish(record(), [completed(old.lease, "late")]) == [False]
    view = await broker.view(JobId("a"))
    assert view
    assert view.result
    assert view.result.text == "good"


# Leases and the dead.


async def test_renewed_leases_live_and_lost_ones_are_named(broker: Broker) -> None:
    kept, ended = await claimed(broker, "a", "b")
    await broker.finish(record(), [completed(ended.lease)])
    lost = await broker.renew(record(), [kept.lease, ended.lease], lease_s=LEASE_S)
    assert lost == [ended.lease]
    assert await reap(broker) == ((), ())


async def test_jobs_of_expired_leases_wait_again_in_front(broker: Broker) -> None:
    await claimed(broker, "a", "b", lease_s=GONE)
    await admit(broker, "c")
    requeued, failed = await reap(broker)
    assert (set(requeued), failed) == ({"a", "b"}, ())
    assert [job.job_id for job in await broker.peek(10)] == ["a", "b", "c"]
    view = await broker.view(JobId("a"))
    assert view
    assert (view.instance_id, view.started_at_s, view.assignment) == (None, None, None)
    assert view.assigned_at_s is None
    assert await reap(broker) == ((), ())


async def test_a_job_fails_when_its_attempts_are_used_up(broker: Broker) -> None:
    await claimed(broker, "a", lease_s=GONE)
    for attempt in (2, 3):
        assert await reap(broker) == (("a",), ())
        await place(broker)
        (job,) = await claim(broker, record(), attempt, lease_s=GONE)
        assert job.attempt == attempt
    assert await reap(broker) == ((), ("a",))
    view = await broker.view(JobId("a"))
    assert view
    assert view.failure
    assert view.failure.code == "attempts_used_up"
    assert await broker.finish(record(), [completed(job.lease)]) == [False]


async def test_released_jobs_wait_again_and_draining_costs_no_attempt(broker: Broker) -> None:
    first, second = await claimed(broker, "a", "b")
    await broker.release(record(), [first.lease], is_attempt=True)
    await broker.release(record(), [second.lease], is_attempt=False)
    await broker.release(record(), [second.lease], is_attempt=False)
    assert await broker.renew(record(), [first.lease], lease_s=LEASE_S) == [first.lease]
    await reap(broker)
    await place(broker)
    attempts = {job.job_id: job.attempt for job in await claim(broker, record(), 2)}
    assert attempts == {"a": 2, "b": 1}


async def test_a_new_life_takes_over_and_the_old_one_is_fenced(broker: Broker) -> None:
    (job,) = await claimed(broker, "a")
    await admit(broker, "b")
    await place(broker)
    new = record(epoch="e2")
    await broker.register(new, lease_s=LEASE_S)
    with pytest.raises(InstanceFenced):
        await claim(broker, record(), 2)
    with pytest.raises(InstanceFenced):
        await broker.renew(record(), [job.lease], lease_s=LEASE_S)
    assert [job.job_id for job in await claim(broker, new, 3)] == ["b"]
    assert await reap(broker) == (("a",), ())
    assert await broker.finish(record(), [completed(job.lease)]) == [False]


async def test_the_queue_of_an_instance_that_is_gone_comes_back(broker: Broker) -> None:
    await admit(broker, "a", "b")
    await broker.register(record(), lease_s=LEASE_S)
    await place(broker)
    await broker.retire(record())
    await admit(broker, "c")
    reaped = await broker.reap(await leader(broker), limit=100)
    assert (set(reaped.requeued), reaped.gone) == ({"a", "b"}, ("gpu0",))
    assert [job.job_id for job in await broker.peek(10)] == ["a", "b", "c"]
    assert (await broker.counts.stats()).instances == 0
    with pytest.raises(InstanceFenced):
        await claim(broker, record(), 9)


async def test_retiring_an_old_life_leaves_the_new_one_alone(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    await broker.register(record(epoch="e2"), lease_s=LEASE_S)
    await broker.retire(record())
    assert (await broker.reap(await leader(broker), limit=10)).gone == ()


async def test_reaping_is_bounded(broker: Broker) -> None:
    await claimed(broker, "a", "b", "c", lease_s=GONE)
    first = await broker.reap(await leader(broker), limit=2)
    second = await broker.reap(await leader(broker), limit=2)
    assert sorted(first.requeued + second.requeued) == ["a", "b", "c"]
    assert len(first.requeued) == 2


# What a scheduler follows.


async def test_signals_and_events_are_followed_in_order(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    pool = await broker.bulletin.load_pool()
    assert pool.instances == (record(),)
    await admit(broker, "a", "b")
    await place(broker)
    (job, _) = await claim(broker, record())
    await broker.finish(record(), [completed(job.lease)])
    batches = [
        EventBatch(record().instance_id, "e1", 1, (BlocksStored(pack_keys([7, 8]), 6),)),
        EventBatch(
            record().instance_id, "e1", 2, (BlocksRemoved(pack_keys([8])), AllBlocksCleared())
        ),
    ]
    await broker.bulletin.publish(batches)
    news = await broker.bulletin.follow(pool.cursor, timeout_s=1)
    end = JobEnded(job.job_id, record().instance_id, completion_tokens=2, decode_s=0.25)
    assert news.signals == (JobsAdmitted(2), end)
    assert list(news.batches) == batches
    nothing = await broker.bulletin.follow(news.cursor, timeout_s=0.001)
    assert (nothing.signals, nothing.batches) == ((), ())


async def test_a_failure_tells_no_seconds_of_decode(broker: Broker) -> None:
    """Neither one that a worker tells, nor one after the last lease that was lost."""
    told, lost = await claimed(broker, "told", "lost")
    await broker.release(record(), [lost.lease], is_attempt=True)
    for number in (2, 3):
        await reap(broker)
        await place(broker)
        (lost,) = await claim(broker, record(), number, lease_s=GONE)
    pool = await broker.bulletin.load_pool()
    await broker.finish(record(), [Outcome(told.lease, failure=JobFailure("any", "any"))])
    assert await reap(broker) == ((), ("lost",))
    who = record().instance_id
    ends = (JobEnded(JobId("told"), who, 0, 0.0), JobEnded(JobId("lost"), who, 0, 0.0))
    assert (await broker.bulletin.follow(pool.cursor, timeout_s=1)).signals == ends


async def test_following_wakes_when_something_happens(broker: Broker) -> None:
    pool = await broker.bulletin.load_pool()
    following = asyncio.create_task(broker.bulletin.follow(pool.cursor, timeout_s=2))
    await broker.register(record(), lease_s=LEASE_S)
    assert (await following).signals == (InstanceJoined(record()),)


async def test_a_snapshot_stands_for_the_events_before_it(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    who = record().instance_id
    await broker.bulletin.publish([EventBatch(who, "e1", 1, (BlocksStored(pack_keys([7])),))])
    saved = Snapshot(who, "e1", 1, (BlocksStored(pack_keys([7])), BlocksStored(pack_keys([9]), 7)))
    await broker.bulletin.save_snapshot(saved)
    later = EventBatch(who, "e1", 2, (BlocksStored(pack_keys([8])),))
    await broker.bulletin.publish([later])
    snapshot, _ = await broker.bulletin.load_snapshot(who)
    assert snapshot == saved
    pool = await broker.bulletin.load_pool()
    assert pool.snapshots == (snapshot,)
    assert (await broker.bulletin.follow(pool.cursor, timeout_s=1)).batches == (later,)


async def test_a_new_life_starts_with_nothing_cached(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    who = record().instance_id
    await broker.bulletin.publish([EventBatch(who, "e1", 1, (BlocksStored(pack_keys([7])),))])
    await broker.bulletin.save_snapshot(Snapshot(who, "e1", 1, (BlocksStored(pack_keys([7])),)))
    await broker.register(record(epoch="e2"), lease_s=LEASE_S)
    assert (await broker.bulletin.load_snapshot(who))[0] is None


async def test_a_new_leader_sees_what_is_placed(broker: Broker) -> None:
    await claimed(broker, "a")
    await admit(broker, "b", "c")
    waiting = (await broker.peek(10))[0]
    await broker.route(await leader(broker), [(waiting.ingress, assignment(waiting))])
    placed = (await broker.bulletin.load_pool()).placed
    assert {(job.job_id, job.instance_id) for job in placed} == {("a", "gpu0"), ("b", "gpu0")}
    assert all(job.block_keys == pack_keys([1, 2]) for job in placed)
