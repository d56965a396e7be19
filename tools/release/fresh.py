"""A clean environment, as a user gets it: what it is told to install and nothing else."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tools.release.places import PACKAGES, RUNTIME_LOCK

TIMEOUT_S: Final = 600.0

_COMPLETED: Final = re.compile(r"jobs completed\D+(\d+) of \1\D+(\d+) of \2\D")
"""In the demo's table, by both policies: all jobs."""

_IMPORT_ALL: Final = f"""
import importlib, pkgutil
for name in {sorted(PACKAGES)}:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{{name}}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


class Fresh:
    """An environment that is made in an empty folder, by uv."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        run("uv", "venv", "--quiet", str(folder))

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self._folder / "bin/python")

    def install(self, *what: str) -> None:
        """Install by uv's arguments. Raises: CalledProcessError."""
        run("uv", "pip", "install", "--quiet", "--python", self.python, *what)

    def run(self, *command: str, folder: Path) -> str:
        """What a command of the environment prints, run in another folder.

        Nothing of the caller's environment reaches it.

        Raises:
            CalledProcessError: If it fails.
            TimeoutExpired: If it takes ten minutes.
        """
        path = f"{self._folder}/bin{os.pathsep}{os.defpath}"
        program = str(self._folder / "bin" / command[0])
        return run(program, *command[1:], cwd=folder, env={"PATH": path, "HOME": str(folder)})


def trial(wheel: Path, folder: Path, version: str) -> Iterator[str]:
    """What is wrong with the wheel once it is installed, beside the packages of the runtime lock.

    Args:
        wheel: The file.
        folder: An empty one to work in.
        version: That the wheel must tell.

    Raises:
        CalledProcessError: If it cannot be installed, or a command fails.
    """
    fresh, empty = Fresh(folder / "environment"), folder / "empty"
    empty.mkdir()
    fresh.install("--require-hashes", "--requirements", str(RUNTIME_LOCK))
    fresh.install("--no-deps", str(wheel))
    if (said := fresh.run("preble", "--version", folder=empty).strip()) != f"preble {version}":
        yield f"installed: `preble --version` says {said!r}"
    fresh.run("python", "-W", "error", "-c", _IMPORT_ALL, folder=empty)
    report = fresh.run("preble", "demo", "--engine", "emulated", folder=empty)
    if not _COMPLETED.search(report):
        yield f"installed: the demo did not complete its jobs:\n{report}"


def run(*command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command prints. Raises: CalledProcessError, TimeoutExpired."""
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=cwd, env=env, check=True, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    return done.stdout
