"""Ingress queues, one for each priority and tenant: what both brokers promise of them."""

import asyncio
import time
from collections.abc import Sequence
from itertools import product
from typing import Final, get_args

import pytest
from support import assignment, record, submission

from preble.broker import Broker
from preble.config import Priority
from preble.errors import QueueFull
from preble.messages import DEFAULT_TENANT, JobId, LeaderToken, Submission, WaitingJob

pytestmark = pytest.mark.anyio

LEASE_S: Final = 60.0
GONE: Final = 0.0
MAX_INGRESSES: Final = 5
"""Of the brokers of these tests."""


async def admit(broker: Broker, *batch: Submission) -> None:
    """Admit a batch that must be accepted."""
    assert await broker.admit([batch]) == [None]


async def leader(broker: Broker) -> LeaderToken:
    """Lead the pool, or go on leading it."""
    token = await broker.lead("leader", ttl_s=LEASE_S)
    assert token
    return token


async def route(broker: Broker, jobs: Sequence[WaitingJob]) -> list[bool]:
    """Assign jobs to gpu0."""
    await broker.register(record(), lease_s=LEASE_S)
    decided = [(job.ingress, assignment(job)) for job in jobs]
    return await broker.route(await leader(broker), decided)


async def waiting(broker: Broker) -> dict[str, list[str]]:
    """Ids by queue, each named by its priority and tenant."""
    found: dict[str, list[str]] = {}
    for job in await broker.peek(100):
        found.setdefault(job.ingress.partition(".ingress.")[2], []).append(job.job_id)
    return found


async def test_each_priority_and_tenant_waits_in_a_queue_of_its_own(broker: Broker) -> None:
    await admit(
        broker,
        submission("n1"), submission("b1", priority="batch"), submission("h1", priority="high"),
        submission("n2", tenant="acme"), submission("n3"),
    )  # fmt: skip
    await admit(broker, submission("b2", priority="batch"))
    queues = await waiting(broker)
    assert queues == {
        "batch.default": ["b1", "b2"], "high.default": ["h1"], "normal.acme": ["n2"],
        "normal.default": ["n1", "n3"],
    }  # fmt: skip
    assert list(queues) == sorted(queues)
    view = await broker.view(JobId("b2"))
    assert view
    assert (view.position, view.spec.priority, view.spec.tenant) == (1, "batch", DEFAULT_TENANT)
    assert (await broker.counts.stats()).waiting == 6


async def test_batch_queues_have_a_window_of_their_own(broker: Broker) -> None:
    names = ("a", "b", "c", "d")
    await admit(
        broker,
        *(submission(f"n{name}") for name in names),
        *(submission(f"b{name}", priority="batch") for name in names),
    )
    seen = [job.job_id for job in await broker.peek(1, batch_window_jobs=3)]
    assert seen == ["ba", "bb", "bc", "na"]
    assert [job.job_id for job in await broker.peek(1)] == ["ba", "na"]


async def test_of_many_queues_fewer_jobs_are_seen_but_one_of_each(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("redis_peek", "memory_ingresses"):
        monkeypatch.setattr(f"preble.broker.{module}.PEEKED_JOBS", 5)
    await admit(broker, *(submission(f"a{at}", tenant="a") for at in range(9)))
    assert len(await broker.peek(9)) == 5
    await admit(broker, *(submission(f"b{at}", tenant="b") for at in range(9)))
    assert [job.job_id for job in await broker.peek(9)] == ["a0", "a1", "b0", "b1"]
    assert [job.job_id for job in await broker.peek(1)] == ["a0", "b0"]
    monkeypatch.undo()
    for module in ("redis_peek", "memory_ingresses"):
        monkeypatch.setattr(f"preble.broker.{module}.PEEKED_JOBS", 1)
    assert [job.job_id for job in await broker.peek(9)] == ["a0", "b0"]


async def test_a_job_tells_how_long_it_has_waited_since_it_was_submitted(broker: Broker) -> None:
    rounding_s = 0.002
    begun_s = time.monotonic()
    await admit(broker, submission("a"))
    admitted_s = time.monotonic()
    async with asyncio.timeout(10):
        while time.monotonic() < admitted_s + 0.02:
            await broker.peek(1)
    asked_s = time.monotonic()
    (job,) = await broker.peek(1)
    told_s = time.monotonic()
    assert asked_s - admitted_s - rounding_s <= job.waited_s <= told_s - begun_s + rounding_s


async def test_the_number_of_queues_is_bounded(broker: Broker) -> None:
    tenants = [f"t{number}" for number in range(MAX_INGRESSES)]
    await admit(broker, *(submission(tenant, tenant=tenant) for tenant in tenants))
    (refusal,) = await broker.admit([[submission("new", tenant="t0", priority="batch")]])
    assert isinstance(refusal, QueueFull)
    assert "its 5 ingress queues" in str(refusal)
    assert "PREBLE_MAX_INGRESSES" in str(refusal)
    await admit(broker, submission("old", tenant="t0"))
    await route(broker, [job for job in await broker.peek(1) if job.job_id == "t1"])
    await admit(broker, submission("new", tenant="t0", priority="batch"))


async def test_a_batch_over_several_queues_is_taken_whole_or_not_at_all(broker: Broker) -> None:
    every = [
        submission(f"{priority}-{tenant}", priority=priority, tenant=tenant)
        for priority, tenant in product(get_args(Priority), ("a", "b"))
    ]
    assert len(every) == MAX_INGRESSES + 1
    too_many_jobs = [*every[:2], *(submission(f"j{number}") for number in range(99))]
    refusals = await broker.admit([every, too_many_jobs])
    assert all(isinstance(refusal, QueueFull) for refusal in refusals)
    assert await broker.peek(100) == []
    assert [await broker.view(job.job_id) for job in every] == [None] * len(every)
    await admit(broker, *every[:MAX_INGRESSES])
    assert len(await broker.peek(100)) == MAX_INGRESSES


async def test_admitting_again_opens_no_queue_again(broker: Broker) -> None:
    """Also where the jobs have left their queues since, and where all queues are taken."""
    batch = [submission("a", tenant="t0"), submission("b", tenant="t1", priority="batch")]
    await admit(broker, *batch)
    assert await route(broker, await broker.peek(10)) == [True, True]
    await admit(broker, *batch)
    assert await waiting(broker) == {}
    await admit(broker, *(submission(f"n{at}", tenant=f"n{at}") for at in range(MAX_INGRESSES)))
    await admit(broker, *batch)
    assert len(await waiting(broker)) == MAX_INGRESSES


async def test_routing_the_last_job_of_a_queue_again_moves_nothing_again(broker: Broker) -> None:
    await admit(broker, submission("a", tenant="acme"))
    seen = await broker.peek(10)
    assert await route(broker, seen) == [True]
    assert await route(broker, seen) == [True]
    stats = await broker.counts.stats()
    assert (stats.waiting, stats.assigned) == (0, 1)


async def test_a_job_is_routed_only_out_of_its_own_queue(broker: Broker) -> None:
    await admit(broker, submission("a"), submission("b", tenant="acme"))
    acme, default = await broker.peek(10)
    wrong = [(acme.ingress, assignment(default))]
    await broker.register(record(), lease_s=LEASE_S)
    assert await broker.route(await leader(broker), wrong) == [False]
    assert await waiting(broker) == {"normal.acme": ["b"], "normal.default": ["a"]}


async def test_jobs_taken_back_from_a_worker_go_to_the_front_of_their_own_queues(
    broker: Broker,
) -> None:
    await admit(
        broker,
        submission("n1"), submission("n2"),
        submission("b1", priority="batch"), submission("b2", priority="batch"),
        submission("t1", tenant="acme"),
    )  # fmt: skip
    assert all(await route(broker, await broker.peek(10)))
    assert await waiting(broker) == {}
    claimed = await broker.claim(
        record(), number=1, jobs=10, tokens=1_000, num_held=0, lease_s=GONE
    )  # fmt: skip
    assert len(claimed) == 5
    await admit(broker, submission("n3"), submission("b3", priority="batch"))
    await broker.reap(await leader(broker), limit=10)
    assert await waiting(broker) == {
        "batch.default": ["b1", "b2", "b3"], "normal.acme": ["t1"],
        "normal.default": ["n1", "n2", "n3"],
    }  # fmt: skip


async def test_jobs_taken_back_from_a_dead_instance_open_their_queues_again(
    broker: Broker,
) -> None:
    """Even more queues than new jobs may open: what was accepted is never refused."""
    for number in range(MAX_INGRESSES):
        await admit(broker, submission(f"a{number}", tenant=f"a{number}"))
    assert all(await route(broker, await broker.peek(10)))
    for number in range(MAX_INGRESSES):
        await admit(broker, submission(f"b{number}", tenant=f"b{number}"))
    await broker.retire(record())
    await broker.reap(await leader(broker), limit=100)
    queues = await waiting(broker)
    assert len(queues) == 2 * MAX_INGRESSES
    assert queues["normal.a3"] == ["a3"]
    await admit(broker, submission("more", tenant="a3"))
    assert (await waiting(broker))["normal.a3"] == ["a3", "more"]
