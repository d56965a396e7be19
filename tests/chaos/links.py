"""The handle on the process that stands between a pool and its Redis (`chaos.proxy`)."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from chaos.proxy import LOOPBACK, Mode
from support import free_port

TESTS: Final = Path(__file__).resolve().parents[1]


def python_path() -> str:
    """Where processes of a run find this package, and what this one was told to look at first."""
    return os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))


class Links:
    """A way to Redis for each process, each with a mode of its own.

    Args:
        redis_port: Where all lead.
        names: Of the processes.
        seed: Of what fares badly.
        hosts: Addresses to listen on, of those that are not on loopback.
    """

    def __init__(
        self, redis_port: int, names: Iterable[str], seed: int, hosts: dict[str, str]
    ) -> None:
        self._places = {name: f"{hosts.get(name, LOOPBACK)}:{free_port()}" for name in names}
        given = [f"{name}={place}" for name, place in self._places.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "chaos.proxy", str(redis_port), str(seed), *given],
            env={**os.environ, "PYTHONPATH": python_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._commands = self._process.stdin
        assert self._process.stdout.readline() == b"ready\n", "the proxy did not start"

    def url(self, name: str) -> str:
        """Where a process finds its Redis."""
        return f"redis://{self._places[name]}/0"

    def turn(self, name: str, mode: Mode) -> None:
        """Change how a process's way behaves."""
        self._commands.write(f"{name} {mode}\n".encode())
        self._commands.flush()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
