"""Attempts to deliver a webhook: what fails comes again, until it is given up."""

import asyncio
from typing import Final

import httpx2
import pytest
from webhook_api_support import Rounds, cancelled, delivered, webhook_of
from webhook_support import Receiver, receiver

from preble.broker.memory import MemoryBroker
from preble.broker.webhooks import LONGEST_OWED_S, DueWebhook, Room
from preble.clock import ManualClock
from preble.errors import BrokerUnavailable
from preble.messages import JobId, JobView
from preble_api.webhooks.deliveries import LEASE_S, MOST_ATTEMPTS, TOO_OLD, pause_s
from preble_api.webhooks.events import Event, event_of
from preble_api.webhooks.lookups import LookupsCrowded
from preble_api.webhooks.posting import Poster
from preble_api.webhooks.room import AT_ONCE_OF_HOST, AT_ONCE_OF_TENANT

pytestmark = pytest.mark.anyio

DAY_S: Final = 86_400.0


async def test_what_fails_is_tried_again_ever_more_slowly_with_the_same_event(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds, clock: ManualClock
) -> None:
    hook.answers = [500, 404, 200]
    job_id = await cancelled(api, hook.url)
    for tries, waits_s in ((1, 3.9), (2, 7.9)):
        await rounds()
        clock.advance(waits_s)
        await rounds()
        assert len(hook.got) == tries
        clock.advance(waits_s)
    state = await webhook_of(api, job_id)
    assert state == {"status": "pending", "attempts": 2, "last_error": "answered 404"}
    await rounds()
    assert len({got.body for got in hook.got}) == 1
    assert len({got.headers["webhook-id"] for got in hook.got}) == 1
    assert (await webhook_of(api, job_id))["status"] == "delivered"
    assert (rounds.counted("failed"), rounds.counted("delivered")) == (2, 1)


def test_attempts_take_about_a_day() -> None:
    pauses_s = [pause_s(attempt) for attempt in range(1, MOST_ATTEMPTS)]
    assert 4 <= pauses_s[0] <= 6
    assert 0.8 * DAY_S < sum(pauses_s) < 1.2 * DAY_S


async def test_what_nobody_takes_is_a_dead_letter_that_can_be_sent_again(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("preble_api.webhooks.deliveries._JITTER", 0.0)
    hook.answers = [503] * MOST_ATTEMPTS
    job_id = await cancelled(api, hook.url)
    for attempt in range(1, MOST_ATTEMPTS + 3):
        await rounds()
        clock.advance(pause_s(attempt))
    assert len(hook.got) == MOST_ATTEMPTS
    [letter] = await memory_broker.webhooks.dead(10)
    assert (letter.job_id, letter.status, letter.attempts) == (job_id, "failed", MOST_ATTEMPTS)
    assert rounds.counted("given_up") == 1
    await memory_broker.webhooks.retry([JobId(job_id)])
    await rounds()
    assert (await webhook_of(api, job_id))["status"] == "delivered"


async def test_attempts_that_ended_their_processes_end_too(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    clock: ManualClock,
) -> None:  # fmt: skip
    await cancelled(api, hook.url)
    for _ in range(MOST_ATTEMPTS):
        await memory_broker.webhooks.take(Room(1, 1), lease_s=LEASE_S)
        clock.advance(LEASE_S)
    await rounds()
    [letter] = await memory_broker.webhooks.dead(10)
    assert letter.last_error == "no attempt came to an end"
    assert hook.got == []


async def test_nobody_there_and_no_such_name_are_tried_again(
    api: httpx2.AsyncClient, rounds: Rounds
) -> None:
    with receiver() as gone:
        pass
    nobody = await cancelled(api, gone.url)
    unknown = await cancelled(api, "https://no-such-name.invalid/")
    await rounds()
    assert await webhook_of(api, nobody) == {
        "status": "pending", "attempts": 1, "last_error": "no answer: ConnectError",
    }  # fmt: skip
    assert "cannot be looked up" in (await webhook_of(api, unknown))["last_error"]


async def test_a_receiver_that_says_nothing_is_left(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("preble_api.webhooks.posting.TIMEOUT_S", 0.2)
    hook.hold.clear()
    job_id = await cancelled(api, hook.url)
    await rounds()
    assert "no answer within" in (await webhook_of(api, job_id))["last_error"]


async def test_of_a_long_answer_only_the_beginning_is_read(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds
) -> None:
    hook.padding_bytes = 256 << 20
    job_id = await cancelled(api, hook.url)
    async with asyncio.timeout(5):
        await rounds()
    assert (await webhook_of(api, job_id))["status"] == "delivered"


async def test_one_host_that_hangs_leaves_room_for_others(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds
) -> None:
    hook.hold.clear()
    hanging = [await cancelled(api, hook.url) for _ in range(AT_ONCE_OF_HOST + 3)]
    with receiver() as other:
        prompt_one = await cancelled(api, other.url)
        async with asyncio.TaskGroup() as tasks:
            await rounds.deliveries.begin_due(tasks)
            await delivered(api, prompt_one)
            hook.hold.set()
    assert len(hook.got) == AT_ONCE_OF_HOST
    postponed = [await webhook_of(api, job_id) for job_id in hanging]
    assert sorted(each["attempts"] for each in postponed) == [0] * 3 + [1] * AT_ONCE_OF_HOST


async def test_one_tenant_whose_receivers_hang_leaves_room_for_others(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds, clock: ManualClock
) -> None:
    with receiver() as second, receiver() as third:
        hook.hold.clear()
        second.hold.clear()
        for url in [hook.url, second.url] * (AT_ONCE_OF_TENANT // 2):
            await cancelled(api, url)
        clock.advance(0.1)  # what is due at the same time goes in any order
        beyond = await cancelled(api, third.url)
        of_another = await cancelled(api, third.url, tenant="bob")
        async with asyncio.TaskGroup() as tasks:
            await rounds.deliveries.begin_due(tasks)
            await delivered(api, of_another)
            await rounds.deliveries.begin_due(tasks)
            hook.hold.set()
            second.hold.set()
    assert (await webhook_of(api, beyond))["attempts"] == 0


async def test_a_name_for_which_no_thread_is_left_is_no_attempt(
    api: httpx2.AsyncClient, rounds: Rounds, hook: Receiver, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async def crowded(*_: object, **__: object) -> None:
        raise LookupsCrowded

    job_id = await cancelled(api, hook.url)
    with monkeypatch.context() as patch:
        patch.setattr(Poster, "post", crowded)
        await rounds()
    state = await webhook_of(api, job_id)
    assert state == {"status": "pending", "attempts": 0, "last_error": ""}
    clock.advance(2)
    await rounds()
    assert (await webhook_of(api, job_id))["status"] == "delivered"


async def test_what_is_owed_for_more_than_a_day_is_given_up_though_it_was_never_tried(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    clock: ManualClock,
) -> None:  # fmt: skip
    job_id = await cancelled(api, hook.url)
    clock.advance(LONGEST_OWED_S + 1)
    await rounds()
    [letter] = await memory_broker.webhooks.dead(10)
    assert (letter.job_id, letter.attempts, letter.last_error) == (job_id, 0, TOO_OLD)
    assert rounds.counted("given_up") == 1
    await memory_broker.webhooks.retry([JobId(job_id)])
    await rounds()
    assert len(hook.got) == 1


async def test_one_that_meets_a_bug_does_not_end_the_others(
    api: httpx2.AsyncClient, hook: Receiver, rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = await cancelled(api, hook.url)

    def buggy(due: DueWebhook, view: JobView | None) -> Event:
        if due.job_id == poison:
            raise KeyError(poison)
        return event_of(due, view)

    monkeypatch.setattr("preble_api.webhooks.deliveries.event_of", buggy)
    fine = await cancelled(api, hook.url)
    await rounds()
    assert (await webhook_of(api, fine))["status"] == "delivered"
    assert (await webhook_of(api, poison))["last_error"] == "an error inside the api"


async def test_while_the_queue_is_away_nothing_is_lost(
    api: httpx2.AsyncClient, memory_broker: MemoryBroker, hook: Receiver, rounds: Rounds,
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    async def away(*_: object, **__: object) -> bool:
        raise BrokerUnavailable("redis is gone")

    job_id = await cancelled(api, hook.url)
    with monkeypatch.context() as patch:
        patch.setattr(memory_broker.webhooks, "settle", away)
        await rounds()
        patch.setattr(memory_broker.webhooks, "take", away)
        await rounds()
    clock.advance(LEASE_S)
    await rounds()
    assert [got.headers["webhook-id"] for got in hook.got[1:]] == [
        hook.got[0].headers["webhook-id"]
    ]
    assert (await webhook_of(api, job_id))["status"] == "delivered"
