"""The batches of tenants on disk: make, find, list, and let go. All calls block."""

import contextlib
import os
from collections.abc import Iterable
from http import HTTPStatus
from itertools import islice
from typing import Final

from preble.clock import unix_s
from preble_api.batches.folder import BatchFolder, BatchRecord
from preble_api.batches.schemas import LONGEST_WINDOW_S, Batch, BatchList, BatchRequest
from preble_api.batches.work import why_stopped
from preble_api.errors import HttpError
from preble_api.files.durable import full_disk_told, make_folder, publish, sync_folder, write_new
from preble_api.files.layout import Layout, OpenBatch, is_batch_id, names_in, new_batch_id
from preble_api.files.schemas import KEPT_S
from preble_api.files.store import FileStore
from preble_api.principal import Principal

MOST_ENDED: Final = 1_000
"""Batches of a tenant that are still shown after their end; the oldest go first."""

_YOUNG_S: Final = 60.0
"""A mark without a batch belongs to one that is being made, unless it is older."""


class BatchStore:
    """Batches of all tenants of a pool.

    Args:
        layout: Where everything is.
        files: Where inputs are.
        model: The pool's.
        max_tenant_batches: Most batches of a tenant that have not ended.
    """

    def __init__(
        self, layout: Layout, files: FileStore, *, model: str, max_tenant_batches: int
    ) -> None:
        self._layout = layout
        self._files = files
        self._model = model
        self._max_tenant_batches = max_tenant_batches

    def create(
        self, request: BatchRequest, window_s: int, principal: Principal, tenants: Iterable[str]
    ) -> Batch:
        """A new batch, once it is on disk.

        Args:
            request: What is asked.
            window_s: Until it expires.
            principal: Who asks.
            tenants: Whose files he may see.

        Raises:
            HttpError: If the file does not exist (404) or is no input (400), the tenant has too
                many batches or, before its results, too many files (429), or the disk is full
                (507).
        """
        file = self._files.find(tenants, request.input_file_id)
        if file.meta.purpose != "batch":
            raise _wrong_purpose(file.meta.purpose)
        self._require_room(file.tenant)
        self._files.require_room(file.tenant, 0, param="input_file_id")
        now_s = int(unix_s())
        record = BatchRecord(
            new_batch_id(), file.tenant, principal.tenant, self._model, now_s, now_s + window_s,
            request,
        )  # fmt: skip
        with full_disk_told():
            self._forget_oldest(file.tenant)
            return self._made(record, file.content)

    def _made(self, record: BatchRecord, content: os.PathLike[str]) -> Batch:
        draft = BatchFolder(self._files.draft_folder(record.tenant))
        try:
            try:
                os.link(content, draft.input)
            except FileNotFoundError:  # deleted meanwhile
                raise _no_such_file() from None
            draft.found(record)
            mark = self._layout.open_mark(record.tenant, record.id)
            make_folder(mark.parent)
            write_new(mark, b"")
            sync_folder(mark.parent)
            place = self._layout.batches(record.tenant)
            make_folder(place)
            publish(draft.path, place / record.id)
        finally:
            self._files.discard_draft(draft.path)
        return BatchFolder(place / record.id).shown()

    def _require_room(self, tenant: str) -> None:
        num_open = sum(each == tenant for each, _ in self._layout.open_batches())
        if num_open >= self._max_tenant_batches:
            message = f"a tenant has at most {self._max_tenant_batches} batches that have not ended"
            raise HttpError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_batches", message)

    def _forget_oldest(self, tenant: str) -> None:
        """Remove what ended long ago, beyond the bound."""
        ids = sorted(self._ids(tenant))
        # Looked at later than the ids: what has no mark now was made, and has ended.
        is_open = {each.batch_id for each in self._layout.open_batches()}
        ended = [each for each in ids if each not in is_open]
        for batch_id in ended[: max(0, len(ended) - MOST_ENDED)]:
            self._files.remove(tenant, self.folder(tenant, batch_id).path)

    def folder(self, tenant: str, batch_id: str) -> BatchFolder:
        """Where a batch is, or would be."""
        return BatchFolder(self._layout.batches(tenant) / batch_id)

    def find(self, tenants: Iterable[str], batch_id: str) -> BatchFolder:
        """The batch, if it is one of these tenants'. Raises: HttpError (404)."""
        if is_batch_id(batch_id):
            for tenant in tenants:
                folder = self.folder(tenant, batch_id)
                if folder.path.is_dir():
                    return folder
        raise HttpError(HTTPStatus.NOT_FOUND, "batch_not_found", "no such batch")

    def page(self, tenants: Iterable[str], after: str, limit: int) -> BatchList:
        """The newest batches before the one named."""
        ids = [(name, tenant) for tenant in tenants for name in self._ids(tenant)]
        older = (each for each in sorted(ids, reverse=True) if not after or each[0] < after)
        page = list(islice(older, limit + 1))
        shown = list(self._shown(page[:limit]))
        ends = (shown[0].id, shown[-1].id) if shown else (None, None)
        return BatchList(shown, len(page) > limit, *ends)

    def _shown(self, ids: Iterable[tuple[str, str]]) -> Iterable[Batch]:
        for name, tenant in ids:
            with contextlib.suppress(FileNotFoundError):
                yield self.folder(tenant, name).shown()

    def open_batches(self) -> list[OpenBatch]:
        """The batches that have not ended, the oldest first."""
        return self._layout.open_batches()

    def stopped(self, batches: Iterable[OpenBatch]) -> list[OpenBatch]:
        """Those that are to end now, as somebody cancelled them or their time is over."""
        return [each for each in batches if self._is_stopped(each)]

    def _is_stopped(self, batch: OpenBatch) -> bool:
        folder = self.folder(*batch)
        try:
            return why_stopped(folder, folder.record()) is not None
        except (OSError, ValueError):
            # It is being made, has just ended, or cannot be read: whoever drives it finds out.
            return False

    def close(self, tenant: str, batch_id: str) -> None:
        """Let a batch rest that has ended: nobody looks for it any more, and only files stay.

        Harmless for one that has not, which another api drives.
        """
        if self.folder(tenant, batch_id).drop_work():
            self._layout.open_mark(tenant, batch_id).unlink(missing_ok=True)

    def forget(self, tenant: str, batch_id: str) -> None:
        """Remove the mark of a batch that was never made, or is gone."""
        mark = self._layout.open_mark(tenant, batch_id)
        with contextlib.suppress(FileNotFoundError):
            if unix_s() - mark.stat().st_mtime > _YOUNG_S:
                mark.unlink()

    def sweep(self) -> None:
        """Remove batches that were made so long ago that their files are gone."""
        for tenant in self._layout.tenants():
            for batch_id in self._ids(tenant):
                folder = self.folder(tenant, batch_id)
                with contextlib.suppress(FileNotFoundError):
                    if _is_over(folder):
                        self._files.remove(tenant, folder.path)

    def _ids(self, tenant: str) -> list[str]:
        return names_in(self._layout.batches(tenant), are_wanted=is_batch_id)


def _is_over(folder: BatchFolder) -> bool:
    made_at_s = int(folder.path.name.removeprefix("batch_")[:12], 16) / 1_000
    is_old = unix_s() - made_at_s > KEPT_S + LONGEST_WINDOW_S
    return is_old and folder.state().is_terminal


def _wrong_purpose(purpose: str) -> HttpError:
    message = f"input_file_id: the file's purpose is `{purpose}`, it must be `batch`"
    return HttpError(HTTPStatus.BAD_REQUEST, "invalid_value", message, param="input_file_id")


def _no_such_file() -> HttpError:
    message = "input_file_id: no such file"
    return HttpError(HTTPStatus.NOT_FOUND, "file_not_found", message, param="input_file_id")
