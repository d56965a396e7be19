"""Where everything lies below `files_dir`; the only place that spells a path.

    {files_dir}/{pool}/{tenant}/files/{file_id}/      content, meta.json
    {files_dir}/{pool}/{tenant}/batches/{batch_id}/   see `batches/folder.py`
    {files_dir}/{pool}/{tenant}/drafts/…              on its way in or out; nobody looks here
    {files_dir}/{pool}/.open/{tenant}.{batch_id}      empty: a batch that has not ended

No name that a client chooses is part of a path but a tenant's, whose form is checked. Ids begin
with the time, so that their order is that of creation, and end with 80 bits of chance.
"""

import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from preble.clock import unix_s

_TENANT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
FILE_ID: Final = re.compile(r"file-[0-9a-f]{32}")
BATCH_ID: Final = re.compile(r"batch_[0-9a-f]{32}")
_OPEN: Final = ".open"


def new_file_id() -> str:
    """An id that nobody can guess, later than all before."""
    return f"file-{_dated()}"


def new_batch_id() -> str:
    """As `new_file_id`, of a batch."""
    return f"batch_{_dated()}"


def _dated() -> str:
    return f"{int(unix_s() * 1_000):012x}{secrets.token_hex(10)}"


def is_file_id(text: str) -> bool:
    """Whether a file can have such an id."""
    return FILE_ID.fullmatch(text) is not None


def is_batch_id(text: str) -> bool:
    """Whether a batch can have such an id."""
    return BATCH_ID.fullmatch(text) is not None


class OpenBatch(NamedTuple):
    """A batch that has not ended."""

    tenant: str
    batch_id: str
    """Orders by age."""


class Layout:
    """The folders of one pool. Makes none.

    Args:
        root: The setting `files_dir`.
        pool: Name of the pool.
    """

    def __init__(self, root: Path, pool: str) -> None:
        self._pool = root / pool

    def files(self, tenant: str) -> Path:
        """Folder of a tenant's files."""
        return self._tenant(tenant) / "files"

    def batches(self, tenant: str) -> Path:
        """Folder of a tenant's batches."""
        return self._tenant(tenant) / "batches"

    def drafts(self, tenant: str) -> Path:
        """Folder of what is not there yet, or not any more."""
        return self._tenant(tenant) / "drafts"

    def open_mark(self, tenant: str, batch_id: str) -> Path:
        """The mark of a batch that has not ended."""
        return self._pool / _OPEN / f"{tenant}.{batch_id}"

    def open_batches(self) -> list[OpenBatch]:
        """The batches that have not ended, the oldest first."""
        marks = [name.partition(".") for name in names_in(self._pool / _OPEN)]
        return sorted(
            (OpenBatch(tenant, batch_id) for tenant, _, batch_id in marks if is_batch_id(batch_id)),
            key=lambda each: each.batch_id,
        )

    def tenants(self) -> list[str]:
        """All that have or had files."""
        return [name for name in names_in(self._pool) if _TENANT.fullmatch(name)]

    def _tenant(self, tenant: str) -> Path:
        if not _TENANT.fullmatch(tenant):
            msg = f"{tenant!r} is no tenant's name"
            raise ValueError(msg)
        return self._pool / tenant


def names_in(folder: Path, *, are_wanted: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Names in a folder, none if it does not exist."""
    try:
        return [each.name for each in folder.iterdir() if are_wanted(each.name)]
    except FileNotFoundError:
        return []
