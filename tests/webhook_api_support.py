"""What the tests of the api's webhooks share: deliveries by hand, jobs with a webhook."""

import asyncio
from typing import Any

import httpx2
from prometheus_client import CollectorRegistry
from webhook_support import SECRET

from preble.broker.memory import MemoryBroker
from preble.messages import DEFAULT_TENANT
from preble.metrics import ApiMetrics
from preble_api.webhooks.addresses import Guard
from preble_api.webhooks.deliveries import (
    Deliveries,
)
from preble_api.webhooks.posting import Poster
from preble_api.webhooks.signing import signing_keys


class Rounds:
    """One api's deliveries, round by round."""

    def __init__(
        self, broker: MemoryBroker, *, allowed: str = "127.0.0.0/8", secret: str = SECRET
    ) -> None:
        self.registry = CollectorRegistry()
        self._poster = Poster(Guard(allowed))
        keys = signing_keys(secret)
        self.deliveries = Deliveries(broker, self._poster, keys, ApiMetrics(self.registry))

    async def __call__(self) -> None:
        """Deliver all that is due, and wait for it."""
        async with asyncio.TaskGroup() as tasks:
            await self.deliveries.begin_due(tasks)

    async def close(self) -> None:
        await self._poster.close()

    def counted(self, result: str) -> float | None:
        labels = {"result": result}
        return self.registry.get_sample_value("preble_webhook_deliveries_total", labels)


async def submit(api: httpx2.AsyncClient, url: str, *, tenant: str = DEFAULT_TENANT) -> str:
    asked = {"prompt": "hello", "webhook": {"url": url}, "tenant": tenant}
    reply = await api.post("/v1/jobs", json=asked)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


async def cancelled(api: httpx2.AsyncClient, url: str, *, tenant: str = DEFAULT_TENANT) -> str:
    job_id = await submit(api, url, tenant=tenant)
    await api.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


async def webhook_of(api: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await api.get(f"/v1/jobs/{job_id}")).json()["webhook"]
    return found


async def delivered(api: httpx2.AsyncClient, job_id: str) -> None:
    """Ask until it is."""
    while (await webhook_of(api, job_id))["status"] != "delivered":  # noqa: ASYNC110  no event
        await asyncio.sleep(0)
