"""A crash between any two calls, or a reply lost at any call, loses and doubles nothing.

The whole life of three jobs is a list of calls. For each call k: everybody dies after it
(or it is sent twice), and new processes take over with nothing but what the broker holds.
"""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest
from support import assignment, completed, record, submission

from preble.broker import Broker
from preble.errors import BrokerError
from preble.messages import ClaimedJob, InstanceRecord, JobId, JobState, LeaderToken, Lease

pytestmark = pytest.mark.anyio

NAMES: Final = ("a", "b", "c")
LEASE_S: Final = 60.0


class Actors:
    """A client, a scheduler and a worker in their first or second life."""

    def __init__(self, broker: Broker, life: str) -> None:
        self.broker = broker
        self.life = life
        self.worker: InstanceRecord = record(epoch=life)
        self.token = LeaderToken("")
        self.claimed: list[ClaimedJob] = []

    def calls(self) -> list[Callable[[], Awaitable[object]]]:
        """Every call of three jobs' lives, in order."""
        return [
            lambda: self.broker.admit([[submission(name) for name in NAMES]]),
            lambda: self.broker.register(self.worker, lease_s=LEASE_S),
            self.lead,
            self.route,
            self.claim,
            lambda: self.broker.renew(self.worker, self.leases, lease_s=LEASE_S),
            lambda: self.finish(0, 1),
            lambda: self.broker.release(self.worker, self.leases[1:2], is_attempt=False),
            lambda: self.broker.reap(self.token, limit=10),
            self.route,
            self.claim,
            lambda: self.finish(0, 2),
            lambda: self.broker.retire(self.worker),
            lambda: self.broker.reap(self.token, limit=10),
        ]

    @property
    def leases(self) -> list[Lease]:
        """Leases of everything claimed."""
        return [job.lease for job in self.claimed]

    async def lead(self) -> None:
        """Take the lead; whoever led is dead and its lease has run out."""
        token = await self.broker.lead(self.life, ttl_s=LEASE_S)
        assert token
        self.token = token

    async def route(self) -> None:
        """Place all that waits."""
        waiting = await self.broker.peek(10)
        await self.broker.route(self.token, [(job.ingress, assignment(job)) for job in waiting])

    async def claim(self) -> None:
        """Claim all that is assigned, under one number however often it is sent."""
        self.claimed += await self.broker.claim(
            self.worker, number=len(self.claimed) + 1, jobs=10, tokens=10_000, num_held=0,
            lease_s=LEASE_S,
        )  # fmt: skip

    async def finish(self, start: int, end: int) -> None:
        """Finish some of the claimed jobs with a result that names this life."""
        outcomes = [completed(lease, self.life) for lease in self.leases[start:end]]
        await self.broker.finish(self.worker, outcomes)


NUM_CALLS: Final = 14


async def recover(broker: Broker, dead: Actors) -> None:
    """New processes find what is left and bring it to its end."""
    if dead.token:
        await broker.resign(dead.token)  # its lease runs out
    new = Actors(broker, "second")
    await broker.register(new.worker, lease_s=LEASE_S)
    await new.lead()
    await broker.reap(new.token, limit=10)
    await new.route()
    await new.claim()
    await new.finish(0, len(new.claimed))


async def ends(broker: Broker) -> list[JobState | None]:
    """How each job ended."""
    views = [await broker.view(JobId(name)) for name in NAMES]
    return [view.state if view else None for view in views]


@pytest.mark.parametrize("calls_made", range(1, NUM_CALLS + 1))
async def test_everybody_dies_after_a_call(broker: Broker, calls_made: int) -> None:
    first = Actors(broker, "first")
    for call in first.calls()[:calls_made]:
        await call()
    await recover(broker, first)
    assert await ends(broker) == [JobState.COMPLETED] * 3
    assert (await broker.counts.stats()).totals["completed"] == 3


@pytest.mark.parametrize("repeated", range(NUM_CALLS))
async def test_a_call_is_sent_twice(broker: Broker, repeated: int) -> None:
    actors = Actors(broker, "first")
    for index, call in enumerate(actors.calls()):
        await call()
        if index == repeated:
            await call()
    await recover(broker, actors)
    assert await ends(broker) == [JobState.COMPLETED] * 3
    stats = await broker.counts.stats()
    assert stats.totals["completed"] == 3
    assert (stats.waiting, stats.assigned, stats.running, stats.prompt_bytes) == (0, 0, 0, 0)


@pytest.mark.parametrize("calls_made", range(1, NUM_CALLS + 1))
async def test_the_dead_come_back_and_go_on(broker: Broker, calls_made: int) -> None:
    """A stopped process continues after others took over: nothing it does counts twice."""
    first = Actors(broker, "first")
    calls = first.calls()
    for call in calls[:calls_made]:
        await call()
    await recover(broker, first)
    for call in calls[max(calls_made, 3) :]:
        try:
            await call()
        except BrokerError:
            continue  # fenced, as it should be
    assert await ends(broker) == [JobState.COMPLETED] * 3
    assert (await broker.counts.stats()).totals["completed"] == 3
