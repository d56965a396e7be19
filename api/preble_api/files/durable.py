"""Writing to disk so that a crash at any moment leaves the old state or the new, never a half.

All calls block; the event loop hands them to threads. What a call has returned from survives
the loss of power, as far as the file system keeps what `fsync` confirmed.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Generator
from http import HTTPStatus
from pathlib import Path
from typing import Final

from preble_api.errors import HttpError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY})


@contextlib.contextmanager
def full_disk_told() -> Generator[None]:
    """Turn a full disk into an answer. Raises: HttpError (507)."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message = "the disk that holds files is full; nothing was kept of this request"
        raise HttpError(HTTPStatus.INSUFFICIENT_STORAGE, "storage_full", message) from error


def make_folder(folder: Path) -> None:
    """A folder and those above it, if they are missing."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_new(path: Path, data: bytes) -> None:
    """A new file with its bytes on disk; its name is durable once its folder was synced.

    Raises:
        FileExistsError: If there is one.
    """
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """A file with other bytes, at once: no reader ever sees a part."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        write_new(new, data)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def publish(folder: Path, place: Path) -> bool:
    """Move a folder that was written whole to where it is looked for.

    Returns:
        False if another stands there already, which stays.

    Raises:
        FileNotFoundError: If the folder is gone.
    """
    sync_folder(folder)
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    sync_folder(place.parent)
    return True


def sync_file(path: Path) -> int:
    """Make what others appended to a file durable. Returns: its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
