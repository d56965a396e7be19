"""Child processes that end with the call that started them."""

import os
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def started(
    command: Sequence[str], environ: Mapping[str, str], folder: Path
) -> Generator[subprocess.Popen[str]]:
    """Run a program whose output is read by the caller; it must have ended on leaving.

    An exception, such as Ctrl-C or SIGTERM make, ends it and all that it started.

    Raises:
        OSError: If it cannot be started.
    """
    # A group of its own: what it has started cannot outlive it, whichever signal comes.
    with subprocess.Popen(  # noqa: S603 - uv, or the environment's own Python
        command, env=dict(environ), cwd=folder, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            yield child
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            child.wait()
            raise
