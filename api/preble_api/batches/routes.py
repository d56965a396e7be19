"""`/v1/batches`: make, list, show and cancel batches."""

import re
from collections.abc import Callable
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble.errors import InvalidJob
from preble_api.batches.folder import BatchFolder
from preble_api.batches.schemas import (
    ENDPOINT_PATHS,
    LONGEST_WINDOW_S,
    SHORTEST_WINDOW_S,
    Batch,
    BatchList,
    BatchListQuery,
    BatchRequest,
)
from preble_api.batches.store import BatchStore
from preble_api.deadlines import CANCEL_AFTER
from preble_api.files.durable import full_disk_told
from preble_api.files.layout import BATCH_ID, Layout
from preble_api.files.off_loop import in_thread
from preble_api.files.routes import visible_tenants
from preble_api.idempotency import IDEMPOTENCY_KEY
from preble_api.intake import Intake
from preble_api.openapi import (
    Json,
    Responses,
    body_of,
    path_parameter,
    problems,
    query_parameters,
    response_of,
)
from preble_api.parsing import decode_json, parse_query, wrong_field
from preble_api.principal import Principal, principal_of
from preble_api.queue_headers import QUEUE_HEADERS
from preble_api.submitting import JSON, require_json

BATCHES_PATH: Final = "/v1/batches"
_BATCH_PATH: Final = f"{BATCHES_PATH}/{{batch_id}}"
_CANCEL_PATH: Final = f"{_BATCH_PATH}/cancel"

_NOT_HEEDED: Final = {
    IDEMPOTENCY_KEY: "leave it out, and look into the list of batches before you ask again",
    CANCEL_AFTER: "`completion_window` says how long the batch may take",
    QUEUE_HEADERS["priority"]: "`priority` in the body names it",
    QUEUE_HEADERS["tenant"]: "a batch is its input file's tenant's",
}
"""Headers that other routes know, and what to do here."""

_encode: Final = msgspec.json.Encoder().encode
_DECODER: Final = msgspec.json.Decoder(BatchRequest)
_WINDOW: Final = re.compile(r"(\d{1,6})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_EXPLAINED: Final = {
    "endpoint": f"must be {', '.join(f'`{path}`' for path in ENDPOINT_PATHS)}",
    "completion_window": "must be a time such as `24h`, `7d` at most",
}


class BatchRoutes:
    """The routes of batches.

    Args:
        store: Where they are.
        layout: Knows the tenants.
        intake: Knows whether there are webhooks.
        on_news: Called when there is a batch to drive.
    """

    def __init__(
        self, store: BatchStore, layout: Layout, intake: Intake, on_news: Callable[[], None]
    ) -> None:
        self._store = store
        self._layout = layout
        self._intake = intake
        self._on_news = on_news

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        app.add_api_route(
            BATCHES_PATH, self.create, methods=["POST"],
            summary="Run a file of requests",
            description=(
                "Each line of the file is `{custom_id, method, url, body}`. The batch is on disk "
                "once this is answered, and runs to its end whatever dies meanwhile."
            ),
            openapi_extra={"requestBody": body_of(BatchRequest)},
            responses={
                200: response_of("The batch.", Batch),
                **problems(
                    s400="A field is wrong, or the file is no input; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                    s403="The key may not submit.",
                    s404="No such file.",
                    s413="The body is too large.",
                    s415="The body is not declared as JSON.",
                    s429="The tenant has too many batches that have not ended, or too many files.",
                    s507="The disk is full.",
                ),
            },
        )  # fmt: skip
        app.add_api_route(
            BATCHES_PATH, self.list_batches, methods=["GET"],
            summary="List batches, the newest first, page by page",
            openapi_extra={"parameters": query_parameters(BatchListQuery)},
            responses={
                200: response_of("A page; ask for the next with `last_id` as `after`.", BatchList),
                **problems(
                    s400="A parameter is wrong; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                    s403="The key may not read.",
                ),
            },
        )  # fmt: skip
        app.add_api_route(
            _BATCH_PATH, self.show, methods=["GET"],
            summary="Show a batch as it stands",
            openapi_extra={"parameters": [_batch_id_parameter()]},
            responses={200: response_of("The batch.", Batch), **_not_found()},
        )  # fmt: skip
        app.add_api_route(
            _CANCEL_PATH, self.cancel, methods=["POST"],
            summary="Cancel a batch; what was answered is kept",
            description="Again, or after its end, it changes nothing.",
            openapi_extra={"parameters": [_batch_id_parameter()]},
            responses={200: response_of("The batch.", Batch), **_not_found()},
        )  # fmt: skip

    async def create(self, request: Request) -> Response:
        """Make a batch. Raises: HttpError, InvalidJob."""
        principal = principal_of(request.scope)
        principal.require("submit")
        require_json(request, "batch")
        _require_none_ignored(request)
        asked = decode_json(_DECODER, await request.body(), _explain)
        self._intake.require_webhooks(asked.webhook)
        window_s = _window_s(asked.completion_window)
        made = await in_thread(self._made, asked, window_s, principal)
        self._on_news()
        return _answer(made)

    async def list_batches(self, request: Request) -> Response:
        """A page of batches. Raises: InvalidJob, HttpError (403)."""
        asked = parse_query(request.query_params.multi_items(), BatchListQuery)
        principal = principal_of(request.scope)
        principal.require("read")
        return _answer(await in_thread(self._page, asked, principal))

    async def show(self, request: Request) -> Response:
        """One batch. Raises: HttpError (403, 404)."""
        principal_of(request.scope).require("read")
        return _answer(await in_thread(self._shown, request))

    async def cancel(self, request: Request) -> Response:
        """Let one batch end. Raises: HttpError (403, 404, 507)."""
        principal_of(request.scope).require("submit")
        return _answer(await in_thread(self._cancelled, request))

    # On threads, as they read the disk.

    def _made(self, asked: BatchRequest, window_s: int, principal: Principal) -> Batch:
        tenants = visible_tenants(principal, self._layout)
        return self._store.create(asked, window_s, principal, tenants)

    def _page(self, asked: BatchListQuery, principal: Principal) -> BatchList:
        after = asked.after if isinstance(asked.after, str) else ""
        return self._store.page(visible_tenants(principal, self._layout), after, asked.limit)

    def _shown(self, request: Request) -> Batch:
        return self._found(request).shown()

    def _cancelled(self, request: Request) -> Batch:
        folder = self._found(request)
        if not folder.state().is_terminal:
            with full_disk_told():
                folder.ask_to_cancel()
        return folder.shown()

    def _found(self, request: Request) -> BatchFolder:
        tenants = visible_tenants(principal_of(request.scope), self._layout)
        return self._store.find(tenants, request.path_params["batch_id"])


def _require_none_ignored(request: Request) -> None:
    """Refuse a header that would be silently forgotten. Raises: InvalidJob, naming it."""
    for name, instead in _NOT_HEEDED.items():
        if name in request.headers:
            raise InvalidJob(name, f"is not heeded for a batch: {instead}")


def _window_s(text: str) -> int:
    """Raises: InvalidJob if it is none, or too long."""
    window = _WINDOW.fullmatch(text)
    seconds = int(window[1]) * _SECONDS[window[2]] if window else 0
    if not SHORTEST_WINDOW_S <= seconds <= LONGEST_WINDOW_S:
        raise InvalidJob("completion_window", _EXPLAINED["completion_window"])
    return seconds


def _explain(error: str) -> InvalidJob:
    wrong = wrong_field(error)
    return InvalidJob(wrong.field, _EXPLAINED.get(wrong.field, str(wrong)))


def _answer(struct: msgspec.Struct) -> Response:
    return Response(_encode(struct), media_type=JSON)


def _batch_id_parameter() -> Json:
    return path_parameter("batch_id", "Id of the batch.", f"^{BATCH_ID.pattern}$")


def _not_found() -> Responses:
    return problems(
        s401="The api key is missing or wrong.",
        s403="The key may not do this.",
        s404="No such batch.",
    )
