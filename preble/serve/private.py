"""A whole private Preble: `python -m preble.serve` with an empty data folder, for a while."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec

from preble.config import ENV_PREFIX, Settings
from preble.errors import PrebleError
from preble.serve import API_LINE
from preble.serve.plan import child_environ
from preble.serve.processes import die_with

STOP_TIMEOUT_S: Final = 70.0


class StackNotStarted(PrebleError):
    """The private servers did not come up."""


class PrivateStack(msgspec.Struct, frozen=True):
    """Where a private stack can be reached."""

    url: str
    """Of the api."""
    pid: int
    """Of the supervisor, whose children are the servers."""


@contextlib.contextmanager
def private_stack(settings: Settings) -> Generator[PrivateStack]:
    """Run everything on a free port with its own Valkey, for the length of the block.

    Yields:
        The stack, once all is ready.

    Raises:
        StackNotStarted: With the last line that was said.
    """
    with tempfile.TemporaryDirectory(prefix="preble-") as name:
        folder = Path(name)
        settings = msgspec.structs.replace(
            settings, host="127.0.0.1", port=0, data_dir=str(folder / "data")
        )
        with (folder / "log").open("w+", encoding="utf-8") as log:
            process = _start(settings, log.fileno())
            try:
                yield PrivateStack(_api_url(process, folder / "log"), process.pid)
            finally:
                _stop(process)


def _start(settings: Settings, log: int) -> subprocess.Popen[str]:
    environ = child_environ(settings, os.environ)
    # Without a Redis named, serve brings its own.
    del environ[f"{ENV_PREFIX}REDIS_URL"]
    return subprocess.Popen(
        [sys.executable, "-m", "preble.serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        env=environ,
        text=True,
        start_new_session=True,
        preexec_fn=die_with(os.getpid()),  # noqa: PLW1509 - no other thread runs yet
    )


def _api_url(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    for line in process.stdout:
        if line.startswith(API_LINE):
            return line.removeprefix(API_LINE).strip()
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    msg = f"the private servers did not start: {lines[-1] if lines else 'they said nothing'}"
    raise StackNotStarted(msg)


def _stop(process: subprocess.Popen[str]) -> None:
    """End everything; what hangs is killed, and the kernel kills its children with it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
