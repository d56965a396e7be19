"""The files of tenants on disk. All calls block; the event loop hands them to threads.

A file is a folder, moved into its place once all of it is on disk. So it is there whole or not
at all, and `meta.json` never disagrees with `content`. It goes by moving away.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from preble.clock import unix_s
from preble_api.errors import HttpError
from preble_api.files.durable import full_disk_told, make_folder, publish, sync_folder, write_new
from preble_api.files.layout import Layout, is_file_id, names_in
from preble_api.files.schemas import FileObject

_CONTENT: Final = "content"
_META: Final = "meta.json"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is there."""

    tenant: str
    meta: FileObject
    content: Path


@dataclass(frozen=True, slots=True)
class FileBounds:
    """What one tenant may keep."""

    max_file_bytes: int
    max_tenant_files: int
    max_tenant_bytes: int


class FileDraft:
    """A file that is being written: nobody finds it before `commit`."""

    def __init__(self, folder: Path, content: BinaryIO) -> None:
        self._folder = folder
        self._content = content
        self.size_bytes = 0

    def write(self, data: bytes) -> None:
        """Append. Raises: HttpError (507) if the disk is full."""
        with full_disk_told():
            self._content.write(data)
        self.size_bytes += len(data)

    def commit(self, meta: FileObject, files: Path) -> bool:
        """Make it a file, durably; False if a file of this id is there already.

        Raises:
            HttpError: If the disk is full (507), or the draft was swept away meanwhile (408).
        """
        with full_disk_told(), _swept_told():
            self._content.flush()
            os.fsync(self._content.fileno())
            self._content.close()
            write_new(self._folder / _META, msgspec.json.encode(meta))
            make_folder(files)
            return publish(self._folder, files / meta.id)

    def discard(self) -> None:
        """Leave nothing behind; harmless after `commit`."""
        with contextlib.suppress(OSError):  # what a full disk still held back
            self._content.close()
        shutil.rmtree(self._folder, ignore_errors=True)


class FileStore:
    """Files of all tenants of a pool."""

    def __init__(self, layout: Layout, bounds: FileBounds) -> None:
        self._layout = layout
        self._bounds = bounds

    def draft(self, tenant: str) -> FileDraft:
        """Begin a file. Raises: HttpError (507) if the disk is full."""
        with full_disk_told():
            folder = self.draft_folder(tenant)
            return FileDraft(folder, (folder / _CONTENT).open("xb"))

    def draft_folder(self, tenant: str) -> Path:
        """A new folder that nobody looks into, on the disk of files and batches."""
        drafts = self._layout.drafts(tenant)
        make_folder(drafts)
        folder = drafts / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder

    def commit(self, draft: FileDraft, meta: FileObject, tenant: str) -> bool:
        """As `FileDraft.commit`."""
        return draft.commit(meta, self._layout.files(tenant))

    def require_room(self, tenant: str, more_bytes: int, *, param: str = "file") -> None:
        """Refuse a file that the tenant may not have beside its others. Raises: HttpError (429).

        Files that are written at the same time do not see each other: the bounds may be passed
        by as much as is uploaded at once.
        """
        bounds = self._bounds
        sizes = [each.meta.bytes for each in self._files_of(tenant, names_in(self._files(tenant)))]
        if len(sizes) >= bounds.max_tenant_files:
            raise _too_many(f"more than {bounds.max_tenant_files} files; delete some", param)
        if sum(sizes) + more_bytes > bounds.max_tenant_bytes:
            what = f"files of more than {bounds.max_tenant_bytes} bytes; delete some"
            raise _too_many(what, param)

    def require_size(self, size_bytes: int) -> None:
        """Refuse a file that is too large. Raises: HttpError (413)."""
        if size_bytes > self._bounds.max_file_bytes:
            raise _too_large(f"a file has at most {self._bounds.max_file_bytes} bytes")

    def find(self, tenants: Iterable[str], file_id: str) -> StoredFile:
        """The file, if it is one of these tenants'. Raises: HttpError (404)."""
        if is_file_id(file_id):
            for tenant in tenants:
                for found in self._files_of(tenant, [file_id]):
                    return found
        raise no_such_file()

    def delete(self, tenants: Iterable[str], file_id: str) -> None:
        """Remove a file, all of it at once. Raises: HttpError (404)."""
        found = self.find(tenants, file_id)
        self.remove(found.tenant, found.content.parent)

    def remove(self, tenant: str, folder: Path) -> None:
        """Let a folder vanish, then delete what is in it. Harmless if it is gone."""
        with contextlib.suppress(FileNotFoundError):
            away = self._layout.drafts(tenant) / secrets.token_hex(16)
            make_folder(away.parent)
            folder.rename(away)
            sync_folder(folder.parent)
            shutil.rmtree(away, ignore_errors=True)

    def discard_draft(self, folder: Path) -> None:
        """Remove a draft folder, if it is still there."""
        shutil.rmtree(folder, ignore_errors=True)

    def listed(
        self, tenants: Iterable[str], *, is_newest_first: bool, after: str = ""
    ) -> Iterator[StoredFile]:
        """The files of these tenants that come after the one named, read as they are asked for."""
        ids = [(name, tenant) for tenant in tenants for name in names_in(self._files(tenant))]
        for name, tenant in sorted(ids, reverse=is_newest_first):
            if not after or (name < after if is_newest_first else name > after):
                yield from self._files_of(tenant, [name])

    def _files_of(self, tenant: str, ids: Iterable[str]) -> Iterator[StoredFile]:
        """Those that are there and have not expired, whether or not they were swept."""
        for file_id in ids:
            folder = self._files(tenant) / file_id
            with contextlib.suppress(FileNotFoundError):
                meta = msgspec.json.decode((folder / _META).read_bytes(), type=FileObject)
                if meta.expires_at > unix_s():
                    yield StoredFile(tenant, meta, folder / _CONTENT)

    def _files(self, tenant: str) -> Path:
        return self._layout.files(tenant)


def no_such_file() -> HttpError:
    """The answer where there is no file, or it is another's."""
    return HttpError(HTTPStatus.NOT_FOUND, "file_not_found", "no such file", param="file_id")


@contextlib.contextmanager
def _swept_told() -> Generator[None]:
    try:
        yield
    except FileNotFoundError as error:
        message = "nothing came for so long that the upload was given up; send the file again"
        raise HttpError(HTTPStatus.REQUEST_TIMEOUT, "upload_abandoned", message) from error


def _too_large(message: str) -> HttpError:
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "file_too_large", message, param="file")


def _too_many(what: str, param: str) -> HttpError:
    message = f"a tenant may not keep {what}"
    return HttpError(HTTPStatus.TOO_MANY_REQUESTS, "too_many_files", message, param=param)
