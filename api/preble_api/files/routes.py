"""`/v1/files`: put, list, show, read and delete files."""

from itertools import islice
from typing import Final

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from preble_api.files.content import FileContent
from preble_api.files.layout import FILE_ID, Layout
from preble_api.files.multipart import FILE_FIELD
from preble_api.files.off_loop import in_thread
from preble_api.files.schemas import (
    MAX_PAGE,
    ExpiresAfter,
    FileDeleted,
    FileList,
    FileListQuery,
    FileObject,
)
from preble_api.files.store import FileStore, StoredFile
from preble_api.files.uploads import Uploads
from preble_api.openapi import (
    Json,
    Responses,
    path_parameter,
    problems,
    query_parameters,
    response_of,
    tenant_parameter,
)
from preble_api.parsing import parse_query
from preble_api.principal import Principal, principal_of
from preble_api.submitting import JSON

FILES_PATH: Final = "/v1/files"
_FILE_PATH: Final = f"{FILES_PATH}/{{file_id}}"
_CONTENT_PATH: Final = f"{_FILE_PATH}/content"

_encode: Final = msgspec.json.Encoder().encode


class FileRoutes:
    """The routes of files.

    Args:
        store: Where they are.
        layout: Knows the tenants.
    """

    def __init__(self, store: FileStore, layout: Layout) -> None:
        self._store = store
        self._layout = layout
        self._uploads = Uploads(store)

    def add_to(self, app: FastAPI) -> None:
        """Declare the routes."""
        app.add_api_route(
            FILES_PATH, self.upload, methods=["POST"],
            summary="Upload the input of a batch",
            description="The file is there, whole and on disk, once this is answered.",
            openapi_extra={"requestBody": _form(), "parameters": tenant_parameter()},
            responses={
                200: response_of("The file.", FileObject),
                **problems(
                    s400="The form is none, or a field is wrong; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                    s403="The key may not submit, or not for this tenant.",
                    s413="The file is too large.",
                    s415="The body is not declared as a form.",
                    s429="The tenant has too many files, or too many are being taken.",
                    s507="The disk is full.",
                ),
            },
        )  # fmt: skip
        app.add_api_route(
            FILES_PATH, self.list_files, methods=["GET"],
            summary="List files, page by page",
            openapi_extra={"parameters": query_parameters(FileListQuery)},
            responses={
                200: response_of("A page; ask for the next with `last_id` as `after`.", FileList),
                **problems(
                    s400="A parameter is wrong; `error.param` names it.",
                    s401="The api key is missing or wrong.",
                ),
            },
        )  # fmt: skip
        app.add_api_route(
            _FILE_PATH, self.show, methods=["GET"],
            summary="Show a file, without its content",
            openapi_extra={"parameters": [_file_id_parameter()]},
            responses={200: response_of("The file.", FileObject), **_not_found()},
        )  # fmt: skip
        app.add_api_route(
            _CONTENT_PATH, self.read, methods=["GET"],
            summary="Read a file's content",
            openapi_extra={"parameters": [_file_id_parameter()]},
            responses={
                200: {"description": "Its bytes.", "content": {FileContent.media_type: {}}},
                206: {"description": "Those of `Range`.", "content": {FileContent.media_type: {}}},
                **_not_found(),
                **problems(s416="The file ends before the bytes of `Range`."),
            },
        )  # fmt: skip
        app.add_api_route(
            _FILE_PATH, self.delete, methods=["DELETE"],
            summary="Delete a file; a batch that reads it goes on",
            openapi_extra={"parameters": [_file_id_parameter()]},
            responses={200: response_of("It is gone.", FileDeleted), **_not_found()},
        )  # fmt: skip

    async def upload(self, request: Request) -> Response:
        """Take a file. Raises: HttpError, InvalidJob, ClientDisconnect; see `Uploads`."""
        principal = principal_of(request.scope)
        principal.require("submit")
        return _answer(await self._uploads.take(request, principal))

    async def list_files(self, request: Request) -> Response:
        """A page of files. Raises: InvalidJob, HttpError (403)."""
        asked = parse_query(request.query_params.multi_items(), FileListQuery)
        return _answer(await in_thread(self._page, _reader(request), asked))

    async def show(self, request: Request) -> Response:
        """One file. Raises: HttpError (403, 404)."""
        return _answer((await self._find(request)).meta)

    async def read(self, request: Request) -> Response:
        """A file's content. Raises: HttpError (403, 404, 416)."""
        return FileContent(await self._find(request), request.headers)

    async def delete(self, request: Request) -> Response:
        """Remove a file. Raises: HttpError (403, 404)."""
        principal = principal_of(request.scope)
        principal.require("submit")
        return _answer(await in_thread(self._deleted, principal, _file_id(request)))

    async def _find(self, request: Request) -> StoredFile:
        return await in_thread(self._found, _reader(request), _file_id(request))

    # On threads, as they read the disk.

    def _found(self, principal: Principal, file_id: str) -> StoredFile:
        return self._store.find(visible_tenants(principal, self._layout), file_id)

    def _deleted(self, principal: Principal, file_id: str) -> FileDeleted:
        self._store.delete(visible_tenants(principal, self._layout), file_id)
        return FileDeleted(file_id)

    def _page(self, principal: Principal, asked: FileListQuery) -> FileList:
        tenants = visible_tenants(principal, self._layout)
        after = asked.after if isinstance(asked.after, str) else ""
        files = self._store.listed(tenants, is_newest_first=asked.order == "desc", after=after)
        metas = (each.meta for each in files if asked.purpose in {msgspec.UNSET, each.meta.purpose})
        limit = min(asked.limit, MAX_PAGE)
        page = list(islice(metas, limit + 1))
        shown = page[:limit]
        ends = (shown[0].id, shown[-1].id) if shown else (None, None)
        return FileList(shown, len(page) > limit, *ends)


def visible_tenants(principal: Principal, layout: Layout) -> list[str]:
    """Tenants whose files and batches somebody may see; all others do not exist for him. Blocks."""
    if principal.tenant is not None:
        return [principal.tenant]
    return [each for each in layout.tenants() if principal.may_see(each)]


def _reader(request: Request) -> Principal:
    """Who asks. Raises: HttpError (403) if he may not read."""
    principal = principal_of(request.scope)
    principal.require("read")
    return principal


def _file_id(request: Request) -> str:
    file_id: str = request.path_params["file_id"]
    return file_id


def _answer(struct: msgspec.Struct) -> Response:
    return Response(_encode(struct), media_type=JSON)


def _form() -> Json:
    expiry = msgspec.json.schema(ExpiresAfter)["$defs"]["ExpiresAfter"]["properties"]
    properties: Json = {
        FILE_FIELD: {"type": "string", "format": "binary", "description": "A request a line."},
        "purpose": {"type": "string", "enum": ["batch"]},
        "expires_after[anchor]": expiry["anchor"],
        "expires_after[seconds]": expiry["seconds"],
        "tenant": {
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]{1,64}$",
            "description": "Whose it is, if not the api key's own or `default`.",
        },
    }
    schema = {"type": "object", "required": [FILE_FIELD, "purpose"], "properties": properties}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def _file_id_parameter() -> Json:
    return path_parameter("file_id", "Id of the file.", f"^{FILE_ID.pattern}$")


def _not_found() -> Responses:
    return problems(
        s401="The api key is missing or wrong.",
        s403="The key may not do this.",
        s404="No such file.",
    )
