"""Jobs whose workers die: alone after two deaths, failed after those alone. On both brokers.

And the numbers of claims, which keep a late copy of one from leasing jobs to nobody.
"""

from typing import Final

import pytest
from support import assignment, completed, record, submission

from preble.broker import Broker
from preble.errors import InstanceFenced
from preble.messages import ClaimedJob, JobId, JobState, LeaderToken, WaitingJob

pytestmark = pytest.mark.anyio

LEASE_S: Final = 60.0
GONE_S: Final = 0.0
"""A lease that has run out at once: its holder is dead."""


async def leader(broker: Broker) -> LeaderToken:
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    return token


async def claim(
    broker: Broker, number: int, *, num_held: int = 0, lease_s: float = LEASE_S
) -> list[ClaimedJob]:
    return await broker.claim(
        record(), number=number, jobs=8, tokens=10_000, num_held=num_held, lease_s=lease_s
    )


async def waiting(broker: Broker) -> dict[str, WaitingJob]:
    return {job.job_id: job for job in await broker.peek(100)}


async def place(broker: Broker, *names: str) -> None:
    """Those of these jobs, or else all, that wait, one after the other on gpu0."""
    known = await waiting(broker)
    jobs = [known[name] for name in names or known]
    moved = [(job.ingress, assignment(job)) for job in jobs]
    assert all(await broker.route(await leader(broker), moved))


async def die(broker: Broker, *names: str, times: int) -> None:
    """These jobs, and no others that wait, are claimed and their worker dies, so many times.

    Claims take the numbers from 1 on.
    """
    await broker.register(record(), lease_s=LEASE_S)
    for number in range(1, times + 1):
        await place(broker, *names)
        assert await claim(broker, number, lease_s=GONE_S)
        await broker.reap(await leader(broker), limit=100)


async def admit(broker: Broker, *names: str) -> None:
    assert await broker.admit([[submission(name) for name in names]]) == [None]


# Quarantine.


async def test_after_two_deaths_a_job_waits_in_the_quarantine(broker: Broker) -> None:
    await admit(broker, "a", "b")
    await die(broker, "a", times=1)
    assert not (await waiting(broker))["a"].runs_alone
    await broker.register(record(epoch="e2"), lease_s=LEASE_S)
    await place(broker, "a")
    await broker.claim(record(epoch="e2"), number=1, jobs=1, tokens=100, num_held=0, lease_s=GONE_S)
    await broker.reap(await leader(broker), limit=100)
    known = await waiting(broker)
    assert (known["a"].runs_alone, known["b"].runs_alone) == (True, False)
    assert known["a"].ingress != known["b"].ingress
    assert (await broker.counts.stats()).waiting == 2
    assert (await broker.counts.stats()).totals["quarantined"] == 1


async def test_a_worker_that_holds_a_job_gets_none_of_the_quarantine(broker: Broker) -> None:
    await admit(broker, "a", "b")
    await die(broker, "a", times=2)
    await place(broker, "a")
    assert await claim(broker, 3, num_held=1) == []
    (alone,) = await claim(broker, 4)
    assert (alone.job_id, alone.attempt, alone.runs_alone) == ("a", 3, True)


async def test_nothing_is_claimed_beside_a_job_of_the_quarantine(broker: Broker) -> None:
    await admit(broker, "a", "b", "c")
    await die(broker, "a", times=2)
    await place(broker, "b", "a", "c")
    assert [job.job_id for job in await claim(broker, 3)] == ["b"]
    assert [job.job_id for job in await claim(broker, 4)] == ["a"]
    assert [job.job_id for job in await claim(broker, 5)] == ["c"]


async def test_a_job_that_ends_alone_was_not_to_blame(broker: Broker) -> None:
    await admit(broker, "a")
    await die(broker, "a", times=2)
    await place(broker)
    (job,) = await claim(broker, 3)
    assert await broker.finish(record(), [completed(job.lease)]) == [True]
    view = await broker.view(JobId("a"))
    assert view
    assert (view.state, view.attempt) == (JobState.COMPLETED, 3)


async def test_a_drain_does_not_count_as_a_death_of_a_job_that_runs_alone(broker: Broker) -> None:
    await admit(broker, "a")
    await die(broker, "a", times=2)
    for number in (3, 4, 5):
        await place(broker)
        (job,) = await claim(broker, number)
        assert (job.attempt, job.runs_alone) == (3, True)
        await broker.release(record(), [job.lease], is_attempt=False)
        await broker.reap(await leader(broker), limit=100)
    assert (await waiting(broker))["a"].runs_alone


async def test_the_quarantine_of_an_instance_that_is_gone_comes_back(broker: Broker) -> None:
    await admit(broker, "a", "b")
    await die(broker, "a", times=2)
    await place(broker, "a", "b")
    await broker.retire(record())
    await broker.reap(await leader(broker), limit=100)
    known = await waiting(broker)
    assert (known["a"].runs_alone, known["b"].runs_alone) == (True, False)


@pytest.mark.parametrize("is_placed", [False, True])
async def test_a_job_of_the_quarantine_is_cancelled(broker: Broker, is_placed: bool) -> None:  # noqa: FBT001
    await admit(broker, "a")
    await die(broker, "a", times=2)
    if is_placed:
        await place(broker)
    assert await broker.cancel([JobId("a")]) == [JobState.CANCELLED]
    assert await waiting(broker) == {}
    assert await claim(broker, 3) == []
    stats = await broker.counts.stats()
    assert (stats.waiting, stats.assigned, stats.prompt_bytes) == (0, 0, 0)


async def test_a_position_in_the_quarantine_is_told(broker: Broker) -> None:
    await admit(broker, "a", "b")
    await die(broker, "a", "b", times=2)
    view = await broker.view(JobId("b"))
    assert view
    assert (view.state, view.position) == (JobState.WAITING, 1)


# Numbers of claims.


async def test_a_late_copy_of_an_earlier_claim_leases_nothing(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    await admit(broker, "a")
    await place(broker)
    (first,) = await claim(broker, 1)
    assert await claim(broker, 2) == []
    await admit(broker, "b")
    await place(broker)
    assert await claim(broker, 1) == []
    assert [job.job_id for job in await claim(broker, 3)] == ["b"]
    assert await broker.finish(record(), [completed(first.lease)]) == [True]


async def test_a_claim_that_brought_nothing_brings_nothing_again(broker: Broker) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    assert await claim(broker, 1) == []
    await admit(broker, "a")
    await place(broker)
    assert await claim(broker, 1) == []
    assert [job.job_id for job in await claim(broker, 2)] == ["a"]


async def test_each_life_numbers_its_claims_anew(broker: Broker) -> None:
    await admit(broker, "a")
    await die(broker, "a", times=1)
    await place(broker)
    new = record(epoch="e2")
    await broker.register(new, lease_s=LEASE_S)
    (job,) = await broker.claim(new, number=1, jobs=1, tokens=100, num_held=0, lease_s=LEASE_S)
    assert job.attempt == 2


# A life that has left.


async def test_a_life_that_retired_is_not_brought_back_by_copies_of_its_calls(
    broker: Broker,
) -> None:
    await broker.register(record(), lease_s=LEASE_S)
    await broker.retire(record())
    await broker.register(record(), lease_s=LEASE_S)
    with pytest.raises(InstanceFenced):
        await broker.renew(record(), [], lease_s=LEASE_S)
    assert (await broker.reap(await leader(broker), limit=10)).gone == ("gpu0",)
