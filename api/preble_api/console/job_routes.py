"""Jobs: find one, list them, and one alone, with what may be done about it."""

from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from preble.broker import Broker
from preble.broker.lists import JobQuery
from preble.clock import Clock, unix_s
from preble.errors import PrebleError
from preble.messages import JobId, JobState, JobView
from preble_api.console.job_pages import page_of, row_of
from preble_api.console.paths import JOBS
from preble_api.console.render import (
    STOP_ASKING,
    Fragment,
    Renderer,
    fragment_of,
    visitor_of,
)
from preble_api.console.shared import Shared
from preble_api.errors import HttpError
from preble_api.job_access import JobAccess
from preble_api.job_ids import JobIds
from preble_api.list_schemas import JobListQuery
from preble_api.parsing import parse_query
from preble_api.principal import Principal, principal_of
from preble_api.remembered import Remembered

PAGE_JOBS: Final = 50
LIST_S: Final = 1.0
"""For which a list stands, for all who look at the same."""

_MOST_LISTS: Final = 256
_NOTICES: Final = {
    "cancel": "The job was asked to end.",
    "retry": "The job waits again, at the end of its queue.",
}


class JobRoutes:
    """`/ui/jobs`.

    Args:
        broker: The queue.
        access: Finds jobs of whoever asks.
        renderer: Makes the pages.
        clock: Tells how old a list is.
        shows_text: Whether outputs may be seen here.
    """

    def __init__(
        self, broker: Broker, ids: JobIds, access: JobAccess, renderer: Renderer, clock: Clock, *,
        shows_text: bool,
    ) -> None:  # fmt: skip
        self._broker = broker
        self._ids = ids
        self._access = access
        self._renderer = renderer
        self._shows_text = shows_text
        self._stats = Remembered(broker.counts.stats, clock, for_s=LIST_S)
        self._lists = Shared(self._listed, clock, for_s=LIST_S, most=_MOST_LISTS)

    async def list_jobs(self, request: Request) -> Response:
        """The list. Raises: InvalidJob, HttpError (403), BrokerUnavailable."""
        if wanted := request.query_params.get("id", "").strip():
            return self._found(request, wanted)
        query = query_of(request)
        return self._list_page(request, query, await self._lists.get(query), "")

    async def rows(self, request: Request) -> Response:
        """What of the list changes. Raises: as `list_jobs`."""
        return (await self._lists.get(query_of(request))).alone()

    async def show(self, request: Request) -> Response:
        """One job. Raises: HttpError (404, 410), BrokerUnavailable."""
        view = await self._access.job(request)
        notice = _NOTICES.get(request.query_params.get("did", ""), "")
        panel = await self._panel(request, view)
        return self._renderer.page(request, "job", job=view, panel=panel, notice=notice)

    async def panel(self, request: Request) -> Response:
        """What of one job changes. Raises: as `show`."""
        view = await self._access.job(request)
        panel = await self._panel(request, view)
        return panel.alone(STOP_ASKING if view.state.is_terminal else HTTPStatus.OK)

    async def cancel(self, request: Request) -> Response:
        """End a job. Raises: HttpError (404, 410), BrokerUnavailable."""
        job_id = await self._access.require(request)
        await self._broker.cancel([job_id])
        return _back(job_id, "cancel")

    async def retry(self, request: Request) -> Response:
        """Let a failed job run again.

        Raises: HttpError (404, 409, 410), PromptDropped, QueueFull, BrokerUnavailable.
        """
        job_id = await self._access.require(request)
        [reply] = await self._broker.retry([job_id])
        if isinstance(reply, PrebleError):
            raise reply
        if reply is not None and reply.is_terminal:
            message = f"the job is {reply}; only one that failed can run again"
            raise HttpError(HTTPStatus.CONFLICT, "job_not_failed", message)
        return _back(job_id, "retry")

    def _found(self, request: Request, wanted: str) -> Response:
        if self._ids.may_be(wanted):
            return RedirectResponse(f"{JOBS}/{wanted}", HTTPStatus.SEE_OTHER)
        told = "That is no id of a job: ids are letters, digits, `_` and `-`, at most 64."
        return self._list_page(request, query_of(request), fragment_of(""), told)

    def _list_page(self, request: Request, query: JobQuery, rows: Fragment, told: str) -> Response:
        return self._renderer.page(
            request, "jobs", rows=rows, query=query, states=list(JobState), problem=told,
            rows_query=urlencode(_parameters(query)),
        )  # fmt: skip

    async def _listed(self, query: JobQuery) -> Fragment:
        page = await self._broker.list_jobs(query)
        older = _parameters(msgspec.structs.replace(query, after=page.after))
        return await self._renderer.fragment(
            "job_rows", rows=[row_of(view) for view in page.jobs], query=query,
            older=urlencode(older) if page.after is not None else "",
        )  # fmt: skip

    async def _panel(self, request: Request, view: JobView) -> Fragment:
        is_waiting = view.state is JobState.WAITING
        instances = (await self._stats.get()).instances if is_waiting else None
        context = page_of(
            view, instances=instances, now_s=unix_s(), shows_text=self._shows_text,
            may_submit=visitor_of(request).may_submit,
        )  # fmt: skip
        return await self._renderer.fragment("job_panel", page=context, job=view)


def query_of(request: Request, state: JobState | None = None) -> JobQuery:
    """The list that a request asks for, of whom whoever asks may see.

    Args:
        request: Its query names state, tenant and `after`, as those of `GET /v1/jobs`.
        state: In place of the one that it names.

    Raises:
        InvalidJob: If a parameter is wrong.
        HttpError: If the tenant is another's (403).
    """
    given = [(name, value) for name, value in request.query_params.items() if value]
    wanted = [(name, value) for name, value in given if name in {"status", "tenant", "after"}]
    asked = parse_query(wanted, JobListQuery)
    tenant = None if asked.tenant is msgspec.UNSET else str(asked.tenant)
    status = None if asked.status is msgspec.UNSET else JobState(asked.status)
    after = None if asked.after is msgspec.UNSET else int(asked.after)
    return JobQuery(state or status, _tenant(principal_of(request.scope), tenant), after, PAGE_JOBS)


def _tenant(principal: Principal, asked: str | None) -> str | None:
    return principal.tenant if asked is None else principal.tenant_for(asked)


def _parameters(query: JobQuery) -> dict[str, str | int]:
    named = {"status": query.state, "tenant": query.tenant, "after": query.after}
    return {name: value for name, value in named.items() if value is not None}


def _back(job_id: JobId, did: str) -> Response:
    return RedirectResponse(f"{JOBS}/{job_id}?did={did}", HTTPStatus.SEE_OTHER)
