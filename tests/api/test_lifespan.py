"""What an api does beside answering requests."""

import asyncio

import pytest
from api_support import Serve

from preble.broker.memory import MemoryBroker
from preble.config import Settings
from preble_api.webhooks.service import WebhookService

pytestmark = pytest.mark.anyio


async def test_api_ends_when_a_part_of_it_does(
    serve: Serve, settings: Settings, memory_broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would go on answering, and deliver nothing, and nobody would know."""

    async def broken(_: WebhookService) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(WebhookService, "run", broken)
    with pytest.RaisesGroup(ZeroDivisionError):
        async with asyncio.timeout(30), serve(settings, memory_broker):
            await asyncio.Event().wait()
