"""An api in this process, on a broker in memory."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from api_support import Serve

from preble.broker import Broker
from preble.broker.api_keys import ApiKeys
from preble.broker.memory import MemoryBroker
from preble.broker.memory_api_keys import MemoryApiKeys
from preble.config import Settings
from preble.tokenizer import Tokenizer, load_tokenizer
from preble_api.app import create_app


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return load_tokenizer("embedded")


@pytest.fixture
def settings() -> Settings:
    """Small bounds, so that tests reach them."""
    return Settings(context_length=256, block_size=16, page_size=16, max_body_bytes=200_000)


@pytest.fixture
def memory_broker() -> MemoryBroker:
    return MemoryBroker(max_jobs=1_000)


@pytest.fixture
def serve(tokenizer: Tokenizer) -> Serve:
    """A client of an api with the given settings and broker, which has joined the pool."""

    @asynccontextmanager
    async def serving(
        settings: Settings, broker: Broker, api_keys: ApiKeys | None = None
    ) -> AsyncGenerator[httpx2.AsyncClient, None]:
        keys = api_keys or MemoryApiKeys()
        app = create_app(settings, broker, tokenizer, api_keys=keys)
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://preble") as made,
        ):
            yield made

    return serving


@pytest.fixture
async def client(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker
) -> AsyncIterator[httpx2.AsyncClient]:
    async with serve(settings, memory_broker) as made:
        yield made
