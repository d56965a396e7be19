"""What must be in a wheel and in an sdist, and what must not. Each complaint is a line."""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from tools.release.places import PACKAGES, ROOT

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of one file: the greatest there is, the tokenizer, has half a megabyte."""

_LEFTOVERS: Final = (".pyc", ".pyo", ".orig", ".rej", ".swp", "~")
_BESIDE_PACKAGES: Final = frozenset({
    "CHANGELOG.md", "LICENSE", "NOTICE", "PKG-INFO", "README.md", "SECURITY.md", "pyproject.toml",
})  # fmt: skip
"""In the sdist. The back end adds `.gitignore`, whose rules it follows."""


def of_wheel(wheel: Path) -> Iterator[str]:
    """What is wrong with the files of a wheel: each is one of our source tree, and none is missing.

    What is read at run time (scripts, cost models, demo, tokenizer, locks) lies among the code.
    """
    with zipfile.ZipFile(wheel) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    metadata = {name for name in found if name.partition("/")[0].endswith(".dist-info")}
    wanted = source_files()
    yield from (f"wheel: {name} is missing" for name in sorted(wanted.keys() - found.keys()))
    yield from (
        f"wheel: {name} is none of ours" for name in sorted(found.keys() - wanted.keys() - metadata)
    )
    for name in sorted(wanted.keys() & found.keys()):
        if found[name] != wanted[name].read_bytes():
            yield f"wheel: {name} is not as in the source tree"
    for package in PACKAGES:
        if f"{package}/py.typed" not in found:
            yield f"wheel: {package} has no py.typed, so that its types count for nobody"
    yield from _junk("wheel", {name: len(content) for name, content in found.items()})


def of_sdist(sdist: Path) -> Iterator[str]:
    """What is wrong with the files of an sdist."""
    with tarfile.open(sdist) as archive:
        members = [each for each in archive.getmembers() if not each.isdir()]
    sizes = {each.name.partition("/")[2]: each.size for each in members}
    links = [each.name for each in members if not each.isfile()]
    yield from (f"sdist: {name} is no plain file" for name in links)
    folders = tuple(f"{folder.relative_to(ROOT)}/" for folder in PACKAGES.values())
    for name in sorted(sizes.keys() - _BESIDE_PACKAGES - {".gitignore"}):
        if not name.startswith(folders):
            yield f"sdist: {name} belongs to no package"
    yield from (f"sdist: {name} is missing" for name in sorted(_BESIDE_PACKAGES - sizes.keys()))
    yield from _junk("sdist", {name: size for name, size in sizes.items() if name != ".gitignore"})


def source_files() -> dict[str, Path]:
    """All files of our packages, by their names in a wheel."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}": path
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _junk(where: str, sizes: dict[str, int]) -> Iterator[str]:
    for name, size in sizes.items():
        parts = PurePosixPath(name).parts
        if name.endswith(_LEFTOVERS) or any(part.startswith(".") for part in parts):
            yield f"{where}: {name} is junk"
        if size > MOST_BYTES:
            yield f"{where}: {name} has {size:,} bytes"
