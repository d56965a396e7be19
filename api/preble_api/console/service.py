"""The console, put together."""

from collections.abc import Iterator

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import Route

from preble.broker import Broker
from preble.clock import Clock
from preble.config import Settings
from preble_api.batches.service import BatchService
from preble_api.console.batch_routes import BatchRoutes
from preble_api.console.dead_routes import DeadRoutes
from preble_api.console.fleet_routes import FleetRoutes
from preble_api.console.job_routes import JobRoutes
from preble_api.console.latency_routes import LatencyRoutes
from preble_api.console.login import LoginRoutes
from preble_api.console.paths import (
    BATCHES,
    DEAD,
    FLEET,
    JOBS,
    LATENCY,
    LOGIN,
    LOGOUT,
    PREFIXES,
    ROOT,
    STATIC,
)
from preble_api.console.prefix_routes import PrefixRoutes
from preble_api.console.render import Renderer, templates
from preble_api.console.sessions import Sessions
from preble_api.console.static_files import StaticFiles
from preble_api.console.tree_reader import TreeReader
from preble_api.direct import Handler
from preble_api.errors import HttpError
from preble_api.job_access import JobAccess
from preble_api.job_ids import JobIds
from preble_api.key_holders import KeyHolders
from preble_api.keyring import Keyring

_Way = tuple[str, Handler]
"""A path, and what answers there."""


class Console:
    """`/ui`, and what stands behind it."""

    def __init__(
        self, settings: Settings, broker: Broker, ids: JobIds, batches: BatchService,
        keyring: Keyring, sessions: Sessions, clock: Clock,
    ) -> None:  # fmt: skip
        self._renderer = Renderer(settings.pool, clock)
        self._reader = TreeReader(settings, clock)
        access = JobAccess(broker, ids, result_ttl_s=settings.result_ttl_s)
        holders = KeyHolders(settings.api_key, keyring)
        self._login = LoginRoutes(holders, sessions, self._renderer)
        self._fleet = FleetRoutes(broker, self._renderer, clock)
        self._prefixes = PrefixRoutes(self._reader, self._renderer, clock)
        self._jobs = JobRoutes(
            broker, ids, access, self._renderer, clock, shows_text=settings.console_text
        )
        self._batches = BatchRoutes(batches, self._renderer, clock)
        self._latency = LatencyRoutes(broker, self._renderer, clock)
        self._dead = DeadRoutes(broker, ids, self._renderer)
        self.routes: list[Route] = []
        """None where no console is offered."""
        if settings.console:
            self.routes += self._ways()
            templates()  # now, as the first who looks would hold the api for it

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes, which the OpenAPI does not have: pages are no api."""
        app.router.routes += self.routes

    def error_page(self, error: HttpError) -> Response:
        """An error as a page."""
        return self._renderer.error(error)

    async def close(self) -> None:
        """End what goes on."""
        await self._reader.close()

    def _ways(self) -> Iterator[Route]:
        for method, ways in (("GET", self._shown()), ("POST", self._done())):
            yield from (Route(path, to, methods=[method]) for path, to in ways)

    def _shown(self) -> Iterator[_Way]:
        yield ROOT, self._fleet.enter
        yield f"{ROOT}/", self._fleet.enter
        yield LOGIN, self._login.show
        yield f"{STATIC}/{{name}}", StaticFiles().show
        yield FLEET, self._fleet.show
        yield f"{FLEET}/panel", self._fleet.panel
        yield PREFIXES, self._prefixes.show
        yield f"{PREFIXES}/panel", self._prefixes.panel
        yield JOBS, self._jobs.list_jobs
        yield f"{JOBS}/rows", self._jobs.rows
        yield f"{JOBS}/{{job_id}}", self._jobs.show
        yield f"{JOBS}/{{job_id}}/panel", self._jobs.panel
        yield BATCHES, self._batches.list_batches
        yield f"{BATCHES}/rows", self._batches.rows
        yield f"{BATCHES}/{{batch_id}}", self._batches.show
        yield f"{BATCHES}/{{batch_id}}/panel", self._batches.panel
        yield LATENCY, self._latency.show
        yield f"{LATENCY}/panel", self._latency.panel
        yield DEAD, self._dead.show

    def _done(self) -> Iterator[_Way]:
        yield LOGIN, self._login.enter
        yield LOGOUT, self._login.leave
        yield f"{FLEET}/{{instance}}/drain", self._fleet.drain
        yield f"{FLEET}/{{instance}}/resume", self._fleet.resume
        yield f"{JOBS}/{{job_id}}/cancel", self._jobs.cancel
        yield f"{JOBS}/{{job_id}}/retry", self._jobs.retry
        yield f"{BATCHES}/{{batch_id}}/cancel", self._batches.cancel
        yield f"{DEAD}/jobs", self._dead.retry
        yield f"{DEAD}/webhooks", self._dead.retry_webhooks
