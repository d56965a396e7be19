"""The brokers that all tests here must hold for; and such whose bounds a test sets.

`accounts` is Redis, each call by the account of the role that makes it (`acl_support`).
"""

from collections.abc import AsyncIterator

import pytest
from acl_support import by_role
from msgspec.structs import asdict, replace
from queue_support import WIDE, Make
from redis import Redis
from support import redis_broker, unique

from preble.broker import Broker
from preble.broker.memory import MemoryBroker


def emptied(request: pytest.FixtureRequest) -> str:
    """The URL of this session's Valkey, emptied: RQ's job keys are the same for all pools."""
    url = str(request.getfixturevalue("redis_url"))
    with Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture(params=["memory", "redis", "accounts"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each broker in turn, empty."""
    if request.param == "memory":
        yield MemoryBroker(max_jobs=100, max_prompt_bytes=10_000, max_ingresses=5, max_attempts=3)
        return
    url = emptied(request)
    made = redis_broker(url) if request.param == "redis" else by_role(url, unique("pool"))
    yield made
    await made.close()


@pytest.fixture(params=["memory", "redis", "accounts"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Each broker in turn, empty, with the bounds that a test sets."""
    made: list[Broker] = []

    async def broker(**bounds: float) -> Broker:
        wide = replace(WIDE, **bounds)
        if request.param == "memory":
            made.append(MemoryBroker(**asdict(wide)))
        elif request.param == "redis":
            made.append(redis_broker(emptied(request), bounds=wide))
        else:
            made.append(by_role(emptied(request), unique("pool"), wide))
        return made[-1]

    yield broker
    for each in made:
        await each.close()
