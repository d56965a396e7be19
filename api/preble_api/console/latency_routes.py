"""How long jobs took lately, of a bounded number of them."""

from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.broker.lists import JobQuery
from preble.clock import Clock
from preble.messages import JobState, JobView
from preble_api.console.latency import MEANINGS, MEASURES, Measure, heat_map_of
from preble_api.console.render import Fragment, Renderer
from preble_api.console.shared import Shared
from preble_api.principal import principal_of

MOST_JOBS: Final = 1_000
MOST_PAGES: Final = 16
"""Questions to the queue of one sample."""

PAGE_JOBS: Final = 100
SAMPLE_S: Final = 5.0
"""For which a sample stands, for all who look at the same tenant's."""

_MOST_SAMPLES: Final = 32


class LatencyRoutes:
    """`/ui/latency`."""

    def __init__(self, broker: Broker, renderer: Renderer, clock: Clock) -> None:
        self._broker = broker
        self._renderer = renderer
        self._samples = Shared(self._sample, clock, for_s=SAMPLE_S, most=_MOST_SAMPLES)
        self._panels = Shared(self._drawn, clock, for_s=SAMPLE_S, most=3 * _MOST_SAMPLES)

    async def show(self, request: Request) -> Response:
        """The page. Raises: BrokerUnavailable."""
        measure = _measure(request)
        panel = await self._panels.get((principal_of(request.scope).tenant, measure))
        return self._renderer.page(
            request, "latency", panel=panel, measure=measure, measures=MEANINGS
        )

    async def panel(self, request: Request) -> Response:
        """What of the page changes. Raises: BrokerUnavailable."""
        tenant = principal_of(request.scope).tenant
        return (await self._panels.get((tenant, _measure(request)))).alone()

    async def _drawn(self, asked: tuple[str | None, Measure]) -> Fragment:
        tenant, measure = asked
        found = heat_map_of(await self._samples.get(tenant), measure)
        series = found.quantiles.json if found else "[]"
        return await self._renderer.fragment(
            "latency_panel", map=found, series=series, meaning=MEANINGS[measure], most=MOST_JOBS
        )

    async def _sample(self, tenant: str | None) -> list[JobView]:
        """Jobs that have ended, of those that were submitted last."""
        found: list[JobView] = []
        async for page in self._pages(tenant):
            found += (view for view in page if view.ended_at_s is not None)
            if len(found) >= MOST_JOBS:
                break
        return found[:MOST_JOBS]

    async def _pages(self, tenant: str | None) -> AsyncIterator[tuple[JobView, ...]]:
        """The newest first; the second half of them behind the queue, if that is in the way.

        What ends was submitted before all that wait, or overtook them: both are to be seen.
        """
        query = JobQuery(JobState.COMPLETED, tenant, None, PAGE_JOBS)
        behind_queue = await self._behind_queue(tenant)
        for number in range(MOST_PAGES):
            page = await self._broker.list_jobs(query)
            yield page.jobs
            after = page.after
            if after is None:
                return
            if number == MOST_PAGES // 2 and behind_queue is not None:
                after = min(after, behind_queue)
            query = msgspec.structs.replace(query, after=after)

    async def _behind_queue(self, tenant: str | None) -> int | None:
        """Where a list goes on with jobs submitted before all that wait; None if none does."""
        oldest = JobQuery(JobState.WAITING, tenant, None, 1, is_newest_first=False)
        return (await self._broker.list_jobs(oldest)).after


def _measure(request: Request) -> Measure:
    """What is asked to be measured; all of it, if that is nothing known."""
    asked = request.query_params.get("measure")
    return asked if asked in MEASURES else "total"
