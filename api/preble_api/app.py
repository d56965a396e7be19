"""The application, put together."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NoReturn

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Lifespan

from preble import __version__
from preble.broker import Broker
from preble.broker.api_keys import ApiKeys
from preble.broker.insisting import insist
from preble.clock import SystemClock
from preble.config import Settings
from preble.explanation import Explanation
from preble.metrics import ApiMetrics
from preble.pool import pool_record
from preble.tokenizer import TextCache, Tokenizer
from preble.tracing import NoTracing, Tracing
from preble_api.admission import Admission
from preble_api.batches.service import BATCH_STRUCTS, BatchService
from preble_api.console.door import Door
from preble_api.console.service import Console
from preble_api.console.sessions import Sessions
from preble_api.cors import allow_origins, origins_of
from preble_api.direct import DirectRoutes, RawRoute
from preble_api.edge import Edge
from preble_api.files.multipart import FORM_BYTES
from preble_api.files.routes import FILES_PATH
from preble_api.gate import Gate
from preble_api.intake import Intake
from preble_api.job_access import JobAccess
from preble_api.job_ids import JobIds
from preble_api.keyring import Keyring
from preble_api.limits import BodyLimit
from preble_api.open_mode import Openness
from preble_api.openai.desk import Desk
from preble_api.openai.routes import OPENAI_STRUCTS, add_openai_routes
from preble_api.openapi import DescribedApi
from preble_api.rendering import Rendering
from preble_api.routes.abort import AbortRoutes
from preble_api.routes.events import EventRoutes
from preble_api.routes.explain import ExplainRoutes
from preble_api.routes.generate import GenerateRoutes
from preble_api.routes.health import HealthRoutes
from preble_api.routes.job_endings import JobEndingRoutes
from preble_api.routes.job_lists import JobListRoutes
from preble_api.routes.jobs import JobRoutes
from preble_api.routes.server_info import ServerInfoRoutes
from preble_api.routes.workers import WORKER_STRUCTS, WorkerRoutes
from preble_api.sglang_schemas import SGLANG_STRUCTS
from preble_api.threads import TextThreads
from preble_api.waits import Waits
from preble_api.webhooks.service import WebhookService


def create_app(
    settings: Settings, broker: Broker, tokenizer: Tokenizer, *, api_keys: ApiKeys,
    registry: CollectorRegistry | None = None, tracing: Tracing | None = None,
) -> FastAPI:  # fmt: skip
    """The HTTP application of one pool.

    Its lifespan joins the pool, however long Redis is away, so it raises PoolMismatch, and closes
    the broker and the keys. `registry` may hold more that is counted in this process.

    Raises:
        ConfigError: If a setting is wrong.
    """
    record = pool_record(settings, tokenizer)
    registry = registry or CollectorRegistry()
    metrics = ApiMetrics(registry)
    threads = TextThreads(settings.tokenizer_threads)
    webhooks = WebhookService(settings, broker, metrics)
    cache = TextCache(tokenizer, settings.text_cache_bytes)
    ids = JobIds(settings.pool)
    intake = Intake(
        record, ids, tokenizer, cache, threads, metrics, has_webhooks=webhooks.is_offered
    )
    rendering = Rendering(threads, tokenizer.token_texts)
    clock = SystemClock()
    openness = Openness(api_keys, clock, may_be_open=settings.may_be_open)
    admission = Admission(broker)
    waits = Waits(broker, clock, longest_s=settings.result_ttl_s)
    batches = BatchService(settings, broker, intake, rendering, admission, waits, metrics, clock)
    # Without a console nobody logs in: the secret need not be derived.
    sessions = Sessions(settings.api_key if settings.console else "")
    keyring = Keyring(api_keys, clock)
    console = Console(settings, broker, ids, batches, keyring, sessions, clock)

    async def begin() -> None:
        await insist(lambda: broker.agreement.join_pool(record))
        await insist(openness.begin)

    async def close() -> None:
        threads.close()
        await console.close()
        await broker.close()
        await api_keys.close()

    app = _described(_lifespan(begin, (waits.listen, batches.run, webhooks.run), close))
    app.state.stop_waits = waits.stop
    JobEndingRoutes(broker, ids, waits, rendering, clock).add_to(app)
    jobs = JobRoutes(
        broker, intake, admission, metrics, waits=waits, rendering=rendering,
        result_ttl_s=settings.result_ttl_s,
    )  # fmt: skip
    jobs.add_to(app)
    JobListRoutes(broker).add_to(app)
    access = JobAccess(broker, ids, result_ttl_s=settings.result_ttl_s)
    EventRoutes(access, waits, rendering).add_to(app)
    ExplainRoutes(broker, access).add_to(app)
    GenerateRoutes(intake, admission, waits, metrics, rendering).add_to(app)
    desk = Desk(intake, admission, waits, metrics)
    add_openai_routes(app, record, broker, desk, waits, rendering)
    app.dialects += (*OPENAI_STRUCTS, *SGLANG_STRUCTS, Explanation)
    hot = [route for route in app.routes if isinstance(route, RawRoute)]
    HealthRoutes(broker, registry, clock).add_to(app)
    ServerInfoRoutes(broker, record).add_to(app)
    WorkerRoutes(broker).add_to(app)
    AbortRoutes(broker, ids).add_to(app)
    batches.add_to(app)
    app.dialects += (*BATCH_STRUCTS, *WORKER_STRUCTS)
    console.add_to(app)
    # The last one added is the outermost.
    app.add_middleware(DirectRoutes, routes=[*hot, *console.routes])
    edge = partial(Edge, metrics=metrics, clock=clock, tracing=tracing or NoTracing())
    _guard(app, settings, keyring, sessions, openness, edge, console)
    return app


def _lifespan(
    begin: Callable[[], Awaitable[None]], works: Sequence[Callable[[], Coroutine[Any, Any, None]]],
    close: Callable[[], Awaitable[None]],
) -> Lifespan[FastAPI]:  # fmt: skip
    """What is done before anything is served, beside it, and after it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None, None]:
        try:
            await begin()
            # A bug that ends one of them ends the process: it would be deaf from then on.
            async with asyncio.TaskGroup() as beside:
                tasks = [beside.create_task(work()) for work in works]
                yield
                for task in tasks:
                    task.cancel()
        finally:
            await close()

    return lifespan


def _described(lifespan: Lifespan[FastAPI]) -> DescribedApi:
    """An application without routes."""
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
    return app


def _guard(
    app: FastAPI, settings: Settings, keyring: Keyring, sessions: Sessions, openness: Openness,
    edge: partial[Edge], console: Console,
) -> None:  # fmt: skip
    """Let in what may come, by key or through the console, and no more of it than may; count it."""
    origins = origins_of(settings.cors_origins)
    app.add_middleware(
        BodyLimit,
        max_body_bytes=settings.max_body_bytes,
        streamed={FILES_PATH: settings.max_file_bytes + FORM_BYTES},
    )
    app.add_middleware(
        Gate, admin_key=settings.api_key, keyring=keyring, openness=openness, sessions=sessions,
        origins=origins,
    )  # fmt: skip
    if settings.console:
        app.add_middleware(Door, error_page=console.error_page)
    app.add_middleware(edge)
    allow_origins(app, origins)


def _leave_to_edge(_: Request, error: Exception) -> NoReturn:
    """Else the router would answer in a form of its own."""
    raise error
