"""The wheel and the sdist, made as a build front end makes them, but offline: by our hatchling."""

import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final, NamedTuple

from tools.release.places import ROOT

BACK_END: Final = (sys.executable, "-m", "hatchling", "build")


class Built(NamedTuple):
    """What is released."""

    wheel: Path
    sdist: Path


def build(folder: Path, *, source: Path = ROOT) -> Built:
    """Build both. Raises: CalledProcessError.

    Args:
        folder: Where they are put.
        source: The project.
    """
    for target in ("sdist", "wheel"):
        command = [*BACK_END, "--target", target, "--directory", str(folder.resolve())]
        subprocess.run(command, cwd=source, check=True, capture_output=True)  # noqa: S603 - ours
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def rebuilt(sdist: Path, folder: Path) -> Path:
    """The wheel that who has only the sdist gets. Raises: CalledProcessError.

    Args:
        sdist: The archive.
        folder: An empty one to work in.
    """
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    return build(folder / "again", source=source).wheel
