"""List jobs, page by page."""

from typing import Final, TypeVar

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.broker import Broker
from preble.broker.lists import JobQuery
from preble_api.list_schemas import JobList, JobListQuery
from preble_api.openapi import problems, query_parameters, response_of
from preble_api.parsing import parse_query
from preble_api.principal import Principal, principal_of
from preble_api.submitting import JSON
from preble_api.views import JOBS_PATH, status_of

_encode: Final = msgspec.json.Encoder().encode
_T = TypeVar("_T")


class JobListRoutes:
    """`GET /v1/jobs`."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def add_to(self, app: FastAPI) -> None:
        """Declare the route."""
        app.add_api_route(
            JOBS_PATH, self.list_jobs, methods=["GET"],
            summary="List jobs, page by page",
            description=(
                "In the order of their submission, which does not change: a job that is there "
                "throughout is on exactly one page, whatever comes and goes meanwhile. Position, "
                "assignment and result are told by the job alone, and are null here."
            ),
            openapi_extra={"parameters": query_parameters(JobListQuery)},
            responses={
                200: response_of("A page; ask for the next with its `next` as `after`.", JobList),
                **problems(
                    s400="A parameter is wrong; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                    s503="The queue cannot be reached.",
                ),
            },
        )  # fmt: skip

    async def list_jobs(self, request: Request) -> Response:
        """A page of jobs. Raises: InvalidJob, HttpError (403), BrokerUnavailable."""
        asked = parse_query(request.query_params.multi_items(), JobListQuery)
        tenant = _tenant(principal_of(request.scope), _given(asked.tenant))
        page = await self._broker.list_jobs(
            JobQuery(
                _given(asked.status), tenant, _given(asked.after), asked.limit,
                is_newest_first=asked.order == "desc",
            )
        )  # fmt: skip
        jobs = [status_of(view) for view in page.jobs]
        listed = JobList(jobs, has_more=page.after is not None, next=page.after)
        return Response(_encode(listed), media_type=JSON)


def _tenant(principal: Principal, asked: str | None) -> str | None:
    """Whose jobs are listed; None for those of all. Raises: HttpError (403)."""
    return principal.tenant if asked is None else principal.tenant_for(asked)


def _given(value: _T | msgspec.UnsetType) -> _T | None:
    return None if isinstance(value, msgspec.UnsetType) else value
