"""Probes and metrics."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

import msgspec
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from preble.broker import Broker
from preble.clock import Clock
from preble.errors import BrokerUnavailable
from preble.messages import PoolStats
from preble_api.openapi import Responses, problems, response_of
from preble_api.pool_metrics import look_at, render
from preble_api.principal import principal_of
from preble_api.remembered import Remembered
from preble_api.schemas import Health

PROBE_S: Final = 2.0
"""Longer than this and the queue counts as unreachable: probes themselves give up soon."""

READY_S: Final = 1.0
"""For so long a probe's answer stands: it needs no key, so asking often must cost Redis nothing."""

Answer = TypeVar("Answer")


class HealthRoutes:
    """Whether this api lives and the queue answers, and what both count.

    Args:
        broker: Of the queue.
        registry: What this api counts.
        clock: Tells how old an answer is.
    """

    def __init__(self, broker: Broker, registry: CollectorRegistry, clock: Clock) -> None:
        self._broker = broker
        self._registry = registry
        self._ready = Remembered(self._stats, clock, for_s=READY_S)

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        ok: Responses = {200: response_of("Serving.", Health)}
        down = problems(s503="The queue cannot be reached.")
        app.add_api_route(
            "/livez", self.livez, methods=["GET"], responses=ok,
            summary="Whether this process serves", description="Asks nobody else.",
        )  # fmt: skip
        for path in ("/readyz", "/health"):
            app.add_api_route(
                path, self.readyz, methods=["GET"], responses={**ok, **down},
                summary="Whether the queue answers",
                description=(
                    "Jobs are taken even while no instance is registered. The queue is asked "
                    "once a second at most."
                ),
            )  # fmt: skip
        app.add_api_route(
            "/metrics", self.metrics, methods=["GET"], response_class=PlainTextResponse,
            summary="Metrics for Prometheus", description=(
                "`preble_pool_` and `rq_` ones need the queue. They are of all tenants, so a key "
                "of one is refused."
            ),
        )  # fmt: skip

    async def livez(self, request: Request) -> Response:
        """The event loop turns."""
        del request
        return _json(Health())

    async def readyz(self, request: Request) -> Response:
        """The queue answers, or did a second ago. Raises: BrokerUnavailable."""
        del request
        stats = await self._ready.get()
        return _json(Health(instances=stats.instances))

    async def metrics(self, request: Request) -> Response:
        """All metrics; the pool's are left out while the queue is down. Raises: HttpError (403)."""
        principal_of(request.scope).require_all_tenants()
        try:
            look = await _answered(look_at(self._broker))
        except BrokerUnavailable:
            look = None
        page = render(self._registry, look)
        return Response(page, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _stats(self) -> PoolStats:
        return await _answered(self._broker.counts.stats())


async def _answered(question: Awaitable[Answer]) -> Answer:
    """What the queue says. Raises: BrokerUnavailable, also if it says nothing for too long."""
    try:
        async with asyncio.timeout(PROBE_S):
            return await question
    except TimeoutError:
        msg = f"the queue did not answer within {PROBE_S} s"
        raise BrokerUnavailable(msg) from None


def _json(struct: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(struct), media_type="application/json")
