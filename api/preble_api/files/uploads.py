"""From a request to a file: streamed to disk, checked, and there all at once."""

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.requests import Request

from preble.clock import unix_s
from preble_api.errors import HttpError
from preble_api.files.layout import new_file_id
from preble_api.files.multipart import FORM_BYTES, FormReader
from preble_api.files.off_loop import in_thread
from preble_api.files.schemas import KEPT_S, FileObject, UploadFields
from preble_api.files.store import FileDraft, FileStore
from preble_api.parsing import convert_fields
from preble_api.principal import Principal
from preble_api.queue_headers import tenant_named

UPLOADS_AT_ONCE: Final = 16
"""Of one api: each holds a megabyte and a thread now and then."""

TENANT_UPLOADS: Final = 4
"""Of one tenant, which may be slow: the others are for others."""

_WRITE_BYTES: Final = 1024 * 1024
_RETRY_AFTER_S: Final = 5.0


class Uploads:
    """Takes files."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._running: Counter[str] = Counter()

    async def take(self, request: Request, principal: Principal) -> FileObject:
        """The file of a request, once it is on disk.

        Raises:
            HttpError: If it is no form (400, 415), too large (413), too much (429), or the disk
                is full (507).
            InvalidJob: If a field or header is wrong, naming it.
            ClientDisconnect: If the client left; nothing is kept.
        """
        named = tenant_named(request.headers)
        home = principal.tenant_for(named)
        self._require_place(home)
        self._running[home] += 1
        try:
            return await self._take(request, principal, home, named)
        finally:
            self._running[home] -= 1
            self._running += Counter()  # keeps no tenant that sends nothing

    def _require_place(self, home: str) -> None:
        if self._running[home] >= TENANT_UPLOADS:
            raise _too_many(f"tenant {home} sends {TENANT_UPLOADS} files already, its most at once")
        if self._running.total() >= UPLOADS_AT_ONCE:
            raise _too_many(f"this api takes {UPLOADS_AT_ONCE} files already, its most at once")

    async def _take(
        self, request: Request, principal: Principal, home: str, named: str | None
    ) -> FileObject:
        await in_thread(self._store.require_room, home, 0)
        upload = _Upload(self._store, await in_thread(self._store.draft, home))
        try:
            form = FormReader(request.headers.get("content-type", ""), upload.add)
            num_bytes = 0
            async for data in request.stream():
                num_bytes += len(data)
                self._store.require_size(num_bytes - FORM_BYTES)
                form.feed(data)
                await upload.write(at_least_bytes=_WRITE_BYTES)
            form.end()
            await upload.write()
            fields = _fields(form.fields)
            tenant = principal.tenant_for(named or fields.tenant)
            return await upload.commit(form.filename or "", fields, tenant)
        finally:
            await in_thread(upload.draft.discard)


class _Upload:
    """A draft, and the bytes that wait to be written to it."""

    def __init__(self, store: FileStore, draft: FileDraft) -> None:
        self.draft = draft
        self._store = store
        self._waiting = bytearray()

    def add(self, data: bytes) -> None:
        self._waiting += data

    async def write(self, *, at_least_bytes: int = 1) -> None:
        if len(self._waiting) < at_least_bytes:
            return
        data, self._waiting = bytes(self._waiting), bytearray()
        self._store.require_size(self.draft.size_bytes + len(data))
        await in_thread(self.draft.write, data)

    async def commit(self, filename: str, fields: UploadFields, tenant: str) -> FileObject:
        now = int(unix_s())
        kept_s = fields.expires_after.seconds if fields.expires_after else KEPT_S
        size_bytes = self.draft.size_bytes
        meta = FileObject(new_file_id(), size_bytes, now, filename, fields.purpose, now + kept_s)
        await in_thread(self._store.require_room, tenant, size_bytes)
        await in_thread(self._store.commit, self.draft, meta, tenant)
        return meta


def _too_many(message: str) -> HttpError:
    status = HTTPStatus.TOO_MANY_REQUESTS
    return HttpError(status, "too_many_uploads", message, retry_after_s=_RETRY_AFTER_S)


def _fields(given: Mapping[str, str]) -> UploadFields:
    """Fields of a form, where `a[b]` is the field `b` of `a`. Raises: InvalidJob."""
    nested: dict[str, Any] = {}
    for name, value in given.items():
        outer, _, inner = name.partition("[")
        if inner:
            group = nested.setdefault(outer, {})
            if isinstance(group, dict):
                group[inner.removesuffix("]")] = value
        else:
            nested[name] = value
    return convert_fields(nested, UploadFields)
