"""An api that takes webhooks, a receiver on loopback, and deliveries by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from api_support import Serve
from msgspec.structs import replace
from webhook_api_support import Rounds
from webhook_support import SECRET, Receiver, receiver

from preble.broker.memory import MemoryBroker
from preble.clock import ManualClock
from preble.config import Settings
from preble_api.webhooks.deliveries import (
    Deliveries,
)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def memory_broker(clock: ManualClock) -> MemoryBroker:
    return MemoryBroker(clock=clock, max_jobs=1_000)


@pytest.fixture
def signing(settings: Settings) -> Settings:
    return replace(settings, webhook_secret=SECRET)


@pytest.fixture
async def api(
    serve: Serve, signing: Settings, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx2.AsyncClient]:
    """An api that takes webhooks and leaves their delivery to the tests."""

    async def deliver_nothing(_: Deliveries) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Deliveries, "run", deliver_nothing)
    async with serve(signing, memory_broker) as made:
        yield made


@pytest.fixture
async def rounds(memory_broker: MemoryBroker) -> AsyncIterator[Rounds]:
    made = Rounds(memory_broker)
    yield made
    await made.close()
