"""Webhooks of which a tenant has too many at once: put off, in nobody's way. Both brokers."""

from typing import Final

import pytest
from msgspec.structs import replace
from support import redis_broker, submission, unique

from preble.broker import Broker, memory_webhooks
from preble.broker.keys import PoolKeys
from preble.broker.scripts import load_scripts
from preble.broker.webhooks import (
    LONGEST_CROWDED_S,
    LONGEST_OWED_S,
    SHORTEST_CROWDED_S,
    DueWebhook,
    Room,
    Verdict,
    crowded_s,
)
from preble.messages import JobId, Webhook, WebhookView

pytestmark = pytest.mark.anyio

HOOK: Final = Webhook("https://receiver.example/hook")
FLOOD: Final = ("a1", "a2", "a3")
ALL: Final = (*FLOOD, "b1")


@pytest.fixture
async def owing(broker: Broker) -> Broker:
    """Three webhooks of one tenant are due before one of another."""
    await owe(broker)
    return broker


async def owe(broker: Broker) -> None:
    for name in ALL:
        job = replace(submission(name, tenant=name[0]), webhook=HOOK)
        assert await broker.admit([[job]]) == [None]
        await broker.cancel([job.job_id])
        await drop_time(broker)


async def drop_time(broker: Broker) -> None:
    """Let a moment pass, on whichever clock the broker has."""
    await broker.streams.listen(unique("nobody"), timeout_s=0.002)


async def take(broker: Broker, room: Room) -> list[DueWebhook]:
    return await broker.webhooks.take(room, lease_s=60)


def names(due: list[DueWebhook]) -> list[str]:
    return [each.job_id for each in due]


async def test_one_tenant_beyond_its_room_leaves_room_for_another(owing: Broker) -> None:
    due = await take(owing, Room(3, 1))
    assert [(each.job_id, each.tenant) for each in due] == [("a1", "a"), ("b1", "b")]


async def test_what_is_under_way_takes_room(owing: Broker) -> None:
    assert names(await take(owing, Room(10, 2, {"a": 2, "b": 1}))) == ["b1"]


async def test_what_is_put_off_is_no_attempt_and_comes_again(owing: Broker) -> None:
    await take(owing, Room(10, 1))
    assert await take(owing, Room(10, 10)) == []
    view = await owing.view(JobId("a3"))
    assert view
    assert view.webhook == WebhookView("pending", 0)
    again = list[DueWebhook]()
    while len(again) < 2:
        again += await take(owing, Room(10, 10))
        await drop_time(owing)
    assert [(each.job_id, each.attempt) for each in again] == [("a2", 1), ("a3", 1)]


async def test_what_is_to_be_given_up_needs_no_room(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(memory_webhooks, "LONGEST_OWED_S", -1.0)
    monkeypatch.setattr("preble.broker.redis.load_scripts", impatient_scripts)
    is_redis = "Redis" in type(broker).__name__
    impatient = redis_broker(request.getfixturevalue("redis_url")) if is_redis else broker
    await owe(impatient)
    assert names(await take(impatient, Room(10, 0))) == list(ALL)
    await impatient.close()


def impatient_scripts(keys: PoolKeys) -> dict[str, str]:
    """The scripts, but that whatever is owed is so for too long."""
    bound = f"LONGEST_OWED_MS = {LONGEST_OWED_S * 1000:.0f}"
    none = "LONGEST_OWED_MS = -1"
    return {name: source.replace(bound, none) for name, source in load_scripts(keys).items()}


async def test_what_is_given_up_without_an_attempt_says_so(owing: Broker) -> None:
    first, *_ = await take(owing, Room(10, 10))
    await owing.webhooks.settle(first, Verdict("failed", "too old", is_attempt=False))
    [letter] = await owing.webhooks.dead(10)
    assert (letter.job_id, letter.attempts, letter.last_error) == ("a1", 0, "too old")


async def test_what_is_retried_is_owed_anew(owing: Broker) -> None:
    first, *_ = await take(owing, Room(10, 10))
    await owing.webhooks.settle(first, Verdict("refused", "not public"))
    await drop_time(owing)
    await owing.webhooks.retry([first.job_id])
    [again] = await take(owing, Room(10, 10))
    assert again.ended_at_s == first.ended_at_s
    # Else it would grow by as much as has passed.
    assert again.owed_s < again.lease_ms / 1_000 - 60 - first.ended_at_s


def test_pauses_grow_with_age_within_bounds() -> None:
    assert crowded_s(0) == SHORTEST_CROWDED_S
    assert crowded_s(20) == 10
    assert crowded_s(100_000) == LONGEST_CROWDED_S
