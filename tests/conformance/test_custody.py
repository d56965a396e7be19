"""Custody: one holder at a time, until it expires. Both brokers."""

import pytest
from support import unique

from preble.broker import Broker

pytestmark = pytest.mark.anyio

TTL_S = 60.0


async def test_a_name_is_in_one_holders_custody(broker: Broker) -> None:
    name = unique("batch")
    assert await broker.custody.take(name, "a", ttl_s=TTL_S)
    assert await broker.custody.take(name, "a", ttl_s=TTL_S)
    assert not await broker.custody.take(name, "b", ttl_s=TTL_S)
    assert await broker.custody.take(unique("other"), "b", ttl_s=TTL_S)


async def test_what_was_given_up_is_taken_at_once(broker: Broker) -> None:
    name = unique("batch")
    await broker.custody.take(name, "a", ttl_s=TTL_S)
    await broker.custody.give_up(name, "b")
    assert not await broker.custody.take(name, "b", ttl_s=TTL_S)
    for _ in range(2):
        await broker.custody.give_up(name, "a")
    assert await broker.custody.take(name, "b", ttl_s=TTL_S)


async def test_custody_expires(broker: Broker) -> None:
    name = unique("batch")
    assert await broker.custody.take(name, "a", ttl_s=0.05)
    while not await broker.custody.take(name, "b", ttl_s=TTL_S):
        pass
    assert not await broker.custody.take(name, "a", ttl_s=TTL_S)
