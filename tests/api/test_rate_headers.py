"""What clients are told of their bounds, in the headers that OpenAI's clients read."""

import httpx2
import pytest
from api_support import Serve

from preble.broker.memory import MemoryBroker
from preble.config import Settings

pytestmark = pytest.mark.anyio

PREFIX = "x-ratelimit-"


def told(reply: httpx2.Response) -> dict[str, str]:
    """By name, without the prefix."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in reply.headers.items()
        if name.startswith(PREFIX)
    }


async def test_a_submission_is_told_what_is_left(serve: Serve, settings: Settings) -> None:
    broker = MemoryBroker(max_tenant_jobs=5, tenant_jobs_per_s=0.5)
    async with serve(settings, broker) as client:
        one = await client.post("/v1/jobs", json={"prompt": "a"})
        assert told(one) == {
            "limit-requests": "5", "remaining-requests": "4", "reset-requests": "2s",
        }  # fmt: skip
        more = await client.post("/v1/jobs", json=[{"prompt": "a"}] * 3)
        assert told(more)["remaining-requests"] == "1"
        chat = {"model": settings.model, "messages": [{"role": "user", "content": "a"}]}
        openai = await client.post(
            "/v1/chat/completions", json=chat, headers={"prefer": "respond-async"}
        )
        assert told(openai)["remaining-requests"] == "0"
        assert told(await client.get(f"/v1/jobs/{one.json()['id']}")) == {}


async def test_without_bounds_nothing_is_told(
    client: httpx2.AsyncClient,
) -> None:
    assert told(await client.post("/v1/jobs", json={"prompt": "a"})) == {}
