"""What has expired or was abandoned goes from the disk, a little at a time."""

import logging
from pathlib import Path
from typing import Final

import msgspec

from preble.clock import unix_s
from preble_api.files.layout import Layout, names_in
from preble_api.files.schemas import FileObject
from preble_api.files.store import FileStore

ABANDONED_S: Final = 3_600.0
"""A draft that nobody has written to for so long is nobody's: no request lives so long."""

_log = logging.getLogger(__name__)


class FileSweep:
    """Removes files that have expired and drafts that were abandoned. Its calls block."""

    def __init__(self, store: FileStore, layout: Layout) -> None:
        self._store = store
        self._layout = layout

    def sweep(self) -> None:
        """Look at all files and drafts once. Any number of processes may."""
        for tenant in self._layout.tenants():
            self._sweep_files(tenant)
            self._sweep_drafts(tenant)

    def _sweep_files(self, tenant: str) -> None:
        files = self._layout.files(tenant)
        for name in names_in(files):
            if _has_expired(files / name):
                self._store.remove(tenant, files / name)
                _log.info("file %s of tenant %s has expired", name, tenant)

    def _sweep_drafts(self, tenant: str) -> None:
        drafts = self._layout.drafts(tenant)
        for name in names_in(drafts):
            if _is_abandoned(drafts / name):
                self._store.discard_draft(drafts / name)


def _has_expired(folder: Path) -> bool:
    try:
        meta = msgspec.json.decode((folder / "meta.json").read_bytes(), type=FileObject)
    except FileNotFoundError:
        return False
    return meta.expires_at <= unix_s()


def _is_abandoned(folder: Path) -> bool:
    """By the disk's own clock, which may be another host's: hours are told apart, not seconds."""
    try:
        written_at_s = max(each.stat().st_mtime for each in (folder, *folder.iterdir()))
    except FileNotFoundError:
        return False
    return unix_s() - written_at_s > ABANDONED_S
