"""Check what would be released: build it, look into it, install it, run it: `make release-check`.

    source ─▶ sdist ─▶ the same wheel?        `release/building.py`
          └─▶ wheel ─▶ files, metadata        `release/contents.py`, `metadata.py`
                 ├───▶ extras resolve?        needs the package index
                 └───▶ installed and run      `release/fresh.py`; likewise

    python -m tools.check_release [--offline]

Exit status 1 and a line for each complaint, if anything is wrong.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Final

from preble import __version__
from tools.release import building, contents, metadata
from tools.release.fresh import run, trial
from tools.release.places import PYPROJECT

PLATFORM: Final = "x86_64-manylinux_2_34"
"""For which extras are resolved: the oldest glibc that SGLang has wheels for."""


def main() -> int:
    """Check all. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.check_release", description=__doc__)
    parser.add_argument("--offline", action="store_true", help="only what needs no package index")
    began, offline = perf_counter(), parser.parse_args().offline
    with tempfile.TemporaryDirectory() as name:
        complaints = [*check(Path(name), offline=offline)]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    verdict = "NOT fit to be released" if complaints else "fit to be released"
    print(f"preble {__version__} is {verdict}, found in {perf_counter() - began:.0f} s")
    return 1 if complaints else 0


def check(folder: Path, *, offline: bool) -> Iterator[str]:
    """Every complaint, as it is found.

    Args:
        folder: An empty one to work in.
        offline: Leave out what needs the package index.
    """
    built = building.build(folder / "dist")
    yield from files(built, folder / "source")
    if offline:
        return
    for extra in metadata.read(built.wheel).provides_extra or ():
        yield from unresolved(extra)
    print("installing the wheel in a clean environment, and running the demo", flush=True)
    yield from trial(built.wheel, folder / "trial", __version__)


def files(built: building.Built, folder: Path) -> Iterator[str]:
    """Complaints about what was built.

    Args:
        built: Wheel and sdist.
        folder: An empty one to work in.
    """
    yield from contents.of_wheel(built.wheel)
    yield from contents.of_sdist(built.sdist)
    yield from metadata.of_wheel(built.wheel)
    if building.rebuilt(built.sdist, folder).read_bytes() != built.wheel.read_bytes():
        yield "sdist: what it builds is not the wheel"


def unresolved(extra: str) -> Iterator[str]:
    """Whether the index has versions of all that an extra asks for, which fit together."""
    print(f"resolving preble[{extra}]", flush=True)
    command = ["uv", "pip", "compile", "--quiet", "--python-version", "3.11", "--extra", extra]
    try:
        run(*command, "--python-platform", PLATFORM, str(PYPROJECT))
    except subprocess.CalledProcessError as error:
        yield f"extra {extra} does not resolve: {error.stderr.strip()}"


if __name__ == "__main__":
    sys.exit(main())
