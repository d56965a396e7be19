"""SGLang's `POST /abort_request`: end one job, or all that may be touched."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.broker.lists import JobQuery
from preble.errors import InvalidJob
from preble.messages import JobId, JobState
from preble_api.errors import HttpError
from preble_api.job_ids import JobIds
from preble_api.openapi import body_of, problems, response_of, tenant_parameter
from preble_api.parsing import decode_json, wrong_field
from preble_api.principal import Principal, principal_of
from preble_api.queue_headers import tenant_named
from preble_api.rids import job_id_of_rid, names_a_job
from preble_api.sglang_schemas import Aborted, AbortRequest
from preble_api.submitting import JSON, require_json

PAGE_JOBS: Final = 100
"""Ended in one call, which holds the queue up for so long."""

MOST_PAGES: Final = 100
"""Looked at for one request: 10,000 jobs."""

_STATES: Final = (JobState.WAITING, JobState.ASSIGNED, JobState.RUNNING)
"""In the order of a job's life, so that one that goes on meanwhile is met again."""

_DECODER: Final = msgspec.json.Decoder(AbortRequest)
_encode: Final = msgspec.json.Encoder().encode


class AbortRoutes:
    """`POST /abort_request`."""

    def __init__(self, broker: Broker, ids: JobIds) -> None:
        self._broker = broker
        self._ids = ids

    def add_to(self, app: FastAPI) -> None:
        """Declare the route."""
        app.add_api_route(
            "/abort_request", self.abort, methods=["POST"],
            summary="End a job by its rid, or all jobs, in SGLang's form",
            description=(
                "A rid is known if it is a job's id, or a UUID that was given at `/generate`, for "
                "a list `<UUID>_0` and so on. `abort_all` needs the scope `admin`, and ends the "
                "jobs of the key's tenant; of all, without one: up to 10,000, the oldest first."
            ),
            openapi_extra={
                "requestBody": body_of(AbortRequest),
                "parameters": tenant_parameter(),
            },
            responses={
                200: response_of("They have ended.", Aborted),
                **problems(
                    s400="A field is wrong; `error.param` names it.",
                    s404="No job is called so.",
                    s413="The body is too large.",
                    s415="The body is not declared as JSON.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

    async def abort(self, request: Request) -> Response:
        """End jobs. Raises: HttpError, InvalidJob, BrokerUnavailable."""
        require_json(request, "rid")
        asked = decode_json(_DECODER, await request.body(), wrong_field)
        if bool(asked.rid) == asked.abort_all:
            raise InvalidJob("rid", "give either `rid` or `abort_all`")
        principal = principal_of(request.scope)
        if asked.rid:
            tenant = principal.tenant_for(tenant_named(request.headers))
            aborted = await self._one(asked.rid, principal, tenant)
        else:
            principal.require("admin")
            aborted = await self._all(principal.tenant)
        return Response(_encode(aborted), media_type=JSON)

    async def _one(self, rid: str, principal: Principal, tenant: str) -> Aborted:
        names = [JobId(rid)] if self._ids.may_be(rid) else []
        names += [job_id_of_rid(self._ids, tenant, rid)] if names_a_job(rid) else []
        for job_id in names:
            view = await self._broker.view(job_id)
            if view is not None and principal.may_see(view.spec.tenant):
                return Aborted(await self._cancel([job_id]))
        message = "rid: no job is called so; it is a job's id, or a UUID given at /generate"
        raise HttpError(HTTPStatus.NOT_FOUND, "job_not_found", message, param="rid")

    async def _all(self, tenant: str | None) -> Aborted:
        """Of one tenant; None for all."""
        aborted = pages = 0
        async for job_ids in self._unfinished(tenant):
            if pages == MOST_PAGES:
                return Aborted(aborted, has_more=True)
            aborted += await self._cancel(job_ids)
            pages += 1
        return Aborted(aborted)

    async def _unfinished(self, tenant: str | None) -> AsyncIterator[list[JobId]]:
        """Page by page, the oldest first: they are found soonest in their queues."""
        for state in _STATES:
            after: int | None = None
            while True:
                query = JobQuery(state, tenant, after, PAGE_JOBS, is_newest_first=False)
                page = await self._broker.list_jobs(query)
                yield [each.job_id for each in page.jobs]
                after = page.after
                if after is None:
                    break

    async def _cancel(self, job_ids: list[JobId]) -> int:
        """How many are cancelled now."""
        states = await self._broker.cancel(job_ids) if job_ids else []
        return states.count(JobState.CANCELLED)
