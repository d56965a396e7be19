"""Ask for many jobs at once: which of them have ended, and with what."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.clock import Clock
from preble.errors import InvalidJob
from preble.messages import JobId, JobView
from preble_api.endings import LOOKS_PER_S
from preble_api.job_ids import JobIds, is_id
from preble_api.list_schemas import MAX_ASKED, EndedJobs, EndedQuery
from preble_api.logprobs import MOST_ANSWER_LOGPROBS, number_of
from preble_api.openapi import prefer_parameter, problems, query_parameters, response_of
from preble_api.parsing import parse_query
from preble_api.prefer import preference_of
from preble_api.principal import Principal, principal_of
from preble_api.rendering import Rendering
from preble_api.submitting import JSON
from preble_api.views import JOBS_PATH, status_of
from preble_api.waits import Waits

_SHORTEST_PAUSE_S: Final = 0.05

_encode: Final = msgspec.json.Encoder().encode


class _Found(NamedTuple):
    """What is to be told of the jobs that were asked for."""

    ended: Sequence[JobView]
    missing: Sequence[JobId]


class JobEndingRoutes:
    """`GET /v1/jobs/ended`.

    Args:
        broker: The queue.
        ids: Of its jobs.
        waits: Says when this api is being stopped.
        rendering: Makes answers.
        clock: Measures how long a request waits.
    """

    def __init__(
        self, broker: Broker, ids: JobIds, waits: Waits, rendering: Rendering, clock: Clock
    ) -> None:
        self._broker = broker
        self._ids = ids
        self._waits = waits
        self._rendering = rendering
        self._clock = clock
        self._awaited_jobs = 0

    def add_to(self, app: FastAPI) -> None:
        """Declare the route, before that of one job."""
        app.add_api_route(
            f"{JOBS_PATH}/ended", self.ended, methods=["GET"],
            summary="Which of many jobs have ended, with their results",
            description=(
                "With `Prefer: wait=n` answered as soon as one has ended, or is missing. What is "
                "named neither in `data` nor in `missing` goes on, or has too many logprobs to be "
                "told beside the others: ask for it again."
            ),
            openapi_extra={"parameters": [*query_parameters(EndedQuery), prefer_parameter()]},
            responses={
                200: response_of("Those that have ended.", EndedJobs),
                **problems(
                    s400="A parameter is wrong; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

    async def ended(self, request: Request) -> Response:
        """The jobs that have ended. Raises: InvalidJob, BrokerUnavailable."""
        asked = parse_query(request.query_params.multi_items(), EndedQuery)
        job_ids = _ids_of(asked.ids)
        principal = principal_of(request.scope)
        preference = preference_of(request)
        until_s = self._clock.now_s() + (preference.wait_s or 0)
        self._awaited_jobs += len(job_ids)
        try:
            found = await self._look(job_ids, principal)
            while not (found.ended or found.missing) and await self._may_wait(request, until_s):
                found = await self._look(job_ids, principal)
        finally:
            self._awaited_jobs -= len(job_ids)
        headers = preference.headers if preference.wait_s else None
        body = await self._rendering.of(found.ended, partial(_encoded, found))
        return Response(body, headers=headers, media_type=JSON)

    async def _may_wait(self, request: Request, until_s: float) -> bool:
        """Pause; all who wait together look no more often than the queue can bear."""
        left_s = until_s - self._clock.now_s()
        if left_s <= 0 or self._waits.is_stopping or await request.is_disconnected():
            return False
        pause_s = max(_SHORTEST_PAUSE_S, self._awaited_jobs / LOOKS_PER_S)
        await asyncio.sleep(min(pause_s, left_s))
        return True

    async def _look(self, job_ids: Sequence[JobId], principal: Principal) -> _Found:
        ours = [job_id for job_id in job_ids if self._ids.may_be(job_id)]
        views = [_visible(each, principal) for each in await self._broker.views(ours)]
        ended = [view for view in views if view is not None and view.state.is_terminal]
        seen = {view.job_id for view in views if view is not None}
        return _Found(list(_few(ended)), [job_id for job_id in job_ids if job_id not in seen])


def _visible(view: JobView | None, principal: Principal) -> JobView | None:
    return view if view is not None and principal.may_see(view.spec.tenant) else None


def _few(views: Iterable[JobView]) -> Iterator[JobView]:
    """The first of them, as many as one answer holds the logprobs of."""
    number = 0
    for view in views:
        number += number_of(view.result.logprobs) if view.result else 0
        if number > MOST_ANSWER_LOGPROBS:
            return
        yield view


def _encoded(found: _Found) -> bytes:
    return _encode(EndedJobs([status_of(view) for view in found.ended], list(found.missing)))


def _ids_of(text: str) -> list[JobId]:
    """Raises: InvalidJob."""
    names = list(dict.fromkeys(text.split(",")))
    if len(names) > MAX_ASKED:
        raise InvalidJob("ids", f"names {len(names)} jobs; ask for {MAX_ASKED} at most")
    for name in names:
        if not is_id(name):
            raise InvalidJob("ids", "must be ids of jobs, with commas between them")
    return [JobId(name) for name in names]
