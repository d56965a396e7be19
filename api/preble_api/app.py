"""The application, put together."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import NoReturn

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request

from preble import __version__
from preble.broker import Broker
from preble.broker.insisting import insist
from preble.clock import SystemClock
from preble.config import Settings
from preble.metrics import ApiMetrics
from preble.pool import pool_record
from preble.tokenizer import Tokenizer
from preble_api.admission import Admission
from preble_api.direct import DirectRoutes, RawRoute
from preble_api.edge import Edge
from preble_api.intake import Intake
from preble_api.limits import ApiKey, BodyLimit
from preble_api.openapi import DescribedApi
from preble_api.routes.generate import GenerateRoutes
from preble_api.routes.health import HealthRoutes
from preble_api.routes.job_lists import JobListRoutes
from preble_api.routes.jobs import JobRoutes
from preble_api.threads import TextThreads
from preble_api.waits import Waits


def create_app(settings: Settings, broker: Broker, tokenizer: Tokenizer) -> FastAPI:
    """The HTTP application of one pool.

    Its lifespan joins the pool, however long Redis is away, so it raises PoolMismatch, and closes
    the broker.
    """
    record = pool_record(settings, tokenizer)
    registry = CollectorRegistry()
    metrics = ApiMetrics(registry)
    threads = TextThreads(settings.tokenizer_threads)
    intake = Intake(record, tokenizer, threads, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        try:
            await insist(lambda: broker.join_pool(record))
            yield
        finally:
            threads.close()
            await broker.close()

    app = DescribedApi(
        title="Preble",
        version=__version__,
        description="A durable dispatcher for LLM jobs that knows what each GPU has cached.",
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        # Its own metrics stand on /metrics; nothing is sent anywhere.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.router.route_class = RawRoute
    app.add_exception_handler(HTTPException, _leave_to_edge)
    admission = Admission(broker)
    jobs = JobRoutes(broker, intake, admission, metrics, result_ttl_s=settings.result_ttl_s)
    jobs.add_to(app)
    JobListRoutes(broker).add_to(app)
    waits = Waits(broker, SystemClock(), longest_s=settings.result_ttl_s)
    app.state.stop_waits = waits.stop
    GenerateRoutes(intake, admission, waits, metrics).add_to(app)
    hot = [route for route in app.routes if isinstance(route, RawRoute)]
    HealthRoutes(broker, registry).add_to(app)
    # The last one added is the outermost.
    app.add_middleware(DirectRoutes, routes=hot)
    app.add_middleware(BodyLimit, max_body_bytes=settings.max_body_bytes)
    if settings.api_key:
        app.add_middleware(ApiKey, key=settings.api_key)
    app.add_middleware(Edge, metrics=metrics, clock=SystemClock())
    return app


def _leave_to_edge(_: Request, error: Exception) -> NoReturn:
    """Else the router would answer in a form of its own."""
    raise error
