"""Fixtures shared by all tests: a still clock, a real Valkey, both brokers."""

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings
from redis import Redis
from support import free_port, redis_broker, valkey

from preble.broker import Broker
from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock

# How fast an example is, depends on what runs beside it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey of this test session's own."""
    port = free_port()
    with valkey(tmp_path_factory.mktemp("valkey"), port):
        yield f"redis://127.0.0.1:{port}/0"


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A look at that Valkey, emptied: RQ's job keys are the same for all pools."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture(params=["memory", "redis"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[Broker]:
    """Each broker in turn, empty: what tests say of it must hold for both."""
    if request.param == "memory":
        yield MemoryBroker(max_jobs=100, max_prompt_bytes=10_000, max_ingresses=5, max_attempts=3)
        return
    url = request.getfixturevalue("redis_url")
    with Redis.from_url(url) as client:
        client.flushall()  # RQ's job keys are the same for all pools
    made = redis_broker(url)
    yield made
    await made.close()
