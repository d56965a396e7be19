"""Batches: how far each has come, and what failed in it."""

from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from preble.clock import Clock, unix_s
from preble_api.batches.folder import BatchFolder
from preble_api.batches.schemas import BatchList
from preble_api.batches.service import BatchService
from preble_api.console.batch_pages import BatchRow, row_of
from preble_api.console.paths import BATCHES
from preble_api.console.render import STOP_ASKING, Fragment, Renderer, visitor_of
from preble_api.console.shared import Shared
from preble_api.files.durable import full_disk_told
from preble_api.files.layout import is_batch_id
from preble_api.files.off_loop import in_thread
from preble_api.files.routes import visible_tenants
from preble_api.principal import Principal, principal_of

PAGE_BATCHES: Final = 30
LIST_S: Final = 2.0
"""For which a list stands: it is read from the disk."""

_MOST_LISTS: Final = 64
_CANCELLED: Final = "The batch was asked to end; what was answered is kept."


class BatchRoutes:
    """`/ui/batches`.

    Args:
        batches: Where they are.
        renderer: Makes the pages.
        clock: Tells how old a list is.
    """

    def __init__(self, batches: BatchService, renderer: Renderer, clock: Clock) -> None:
        self._batches = batches
        self._renderer = renderer
        self._lists = Shared(self._listed, clock, for_s=LIST_S, most=_MOST_LISTS)

    async def list_batches(self, request: Request) -> Response:
        """The list."""
        rows = await self._lists.get(_asked(request))
        return self._renderer.page(
            request,
            "batches",
            rows=rows,
            after=_after(request),
            is_offered=self._batches.is_offered,
        )

    async def rows(self, request: Request) -> Response:
        """What of the list changes."""
        return (await self._lists.get(_asked(request))).alone()

    async def show(self, request: Request) -> Response:
        """One batch. Raises: HttpError (404)."""
        row = await self._row(request)
        notice = _CANCELLED if request.query_params.get("did") == "cancel" else ""
        panel = await self._panel(request, row)
        return self._renderer.page(request, "batch", row=row, panel=panel, notice=notice)

    async def panel(self, request: Request) -> Response:
        """What of one batch changes. Raises: HttpError (404)."""
        row = await self._row(request)
        status = STOP_ASKING if row.has_ended else HTTPStatus.OK
        return (await self._panel(request, row)).alone(status)

    async def cancel(self, request: Request) -> Response:
        """Let one batch end. Raises: HttpError (404, 507)."""
        await in_thread(self._cancelled, request)
        batch_id = request.path_params["batch_id"]
        return RedirectResponse(f"{BATCHES}/{batch_id}?did=cancel", HTTPStatus.SEE_OTHER)

    async def _listed(self, asked: tuple[Principal, str]) -> Fragment:
        principal, after = asked
        page = await in_thread(self._page, principal, after)
        older = page.last_id if page.has_more else None
        rows = [row_of(batch, unix_s()) for batch in page.data]
        return await self._renderer.fragment("batch_rows", rows=rows, older=older, after=after)

    async def _row(self, request: Request) -> BatchRow:
        batch = await in_thread(lambda: self._folder(request).shown())
        return row_of(batch, unix_s())

    async def _panel(self, request: Request, row: BatchRow) -> Fragment:
        may_cancel = visitor_of(request).may_submit
        return await self._renderer.fragment("batch_panel", row=row, may_cancel=may_cancel)

    # On threads, as they read the disk.

    def _page(self, principal: Principal, after: str) -> BatchList:
        tenants = visible_tenants(principal, self._batches.layout)
        return self._batches.store.page(tenants, after, PAGE_BATCHES)

    def _folder(self, request: Request) -> BatchFolder:
        tenants = visible_tenants(principal_of(request.scope), self._batches.layout)
        return self._batches.store.find(tenants, request.path_params["batch_id"])

    def _cancelled(self, request: Request) -> None:
        folder = self._folder(request)
        if not folder.state().is_terminal:
            with full_disk_told():
                folder.ask_to_cancel()


def _asked(request: Request) -> tuple[Principal, str]:
    return principal_of(request.scope), _after(request)


def _after(request: Request) -> str:
    """Where a page begins; what cannot be a batch begins at the newest."""
    after = request.query_params.get("after", "")
    return after if is_batch_id(after) else ""
