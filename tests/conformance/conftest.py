"""Brokers whose bounds a test sets."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import asdict, replace
from queue_support import WIDE, Make
from redis import Redis
from support import redis_broker

from preble.broker import Broker
from preble.broker.memory import MemoryBroker


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Each broker in turn, empty, with the bounds that a test sets."""
    made: list[Broker] = []

    async def broker(**bounds: float) -> Broker:
        wide = replace(WIDE, **bounds)
        if request.param == "memory":
            made.append(MemoryBroker(**asdict(wide)))
        else:
            url = request.getfixturevalue("redis_url")
            with Redis.from_url(url) as client:
                client.flushall()
            made.append(redis_broker(url, bounds=wide))
        return made[-1]

    yield broker
    for each in made:
        await each.close()
