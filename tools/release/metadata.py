"""What an index and an installer read: the core metadata of a wheel. Each complaint is a line."""

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from packaging.metadata import Metadata
from trove_classifiers import classifiers

from preble import __version__
from tools.release.places import ROOT

_LICENCES: Final = frozenset({"LICENSE", "NOTICE"})
_CITED: Final = re.compile(r"^version: (\S+)$", re.MULTILINE)


def of_wheel(wheel: Path) -> Iterator[str]:
    """What is wrong with the metadata of a wheel."""
    try:
        metadata = read(wheel)
    except ExceptionGroup as invalid:
        yield from (f"metadata: {error}" for error in invalid.exceptions)
        return
    yield from _versions(str(metadata.version))
    yield from _readme(metadata)
    yield from _licences(wheel, metadata)
    for name in sorted({*(metadata.classifiers or ())} - classifiers):
        yield f"metadata: {name!r} is no classifier that indexes know"
    for name, url in (metadata.project_urls or {}).items():
        if not url.startswith("https://"):
            yield f"metadata: the URL of {name} is not https"


def read(wheel: Path) -> Metadata:
    """The metadata of a wheel, checked. Raises: ExceptionGroup, of all fields that are wrong."""
    with zipfile.ZipFile(wheel) as archive:
        return Metadata.from_email(archive.read(_dist_info(archive) + "METADATA"), validate=True)


def _dist_info(archive: zipfile.ZipFile) -> str:
    name = next(name for name in archive.namelist() if ".dist-info/" in name)
    return name.partition("/")[0] + "/"


def _versions(built: str) -> Iterator[str]:
    """The number stands in three files, for three kinds of readers."""
    cited = _CITED.findall((ROOT / "CITATION.cff").read_text())
    said = {"pyproject.toml": built, "preble/__init__.py": __version__, "CITATION.cff": cited[0]}
    if len({*said.values()}) > 1:
        yield f"metadata: versions differ: {said}"


def _readme(metadata: Metadata) -> Iterator[str]:
    if metadata.description_content_type != "text/markdown":
        yield f"metadata: the readme is {metadata.description_content_type}, not text/markdown"
    if "<h1>" not in MarkdownIt().render(metadata.description or ""):
        yield "metadata: the readme has no title when it is rendered"


def _licences(wheel: Path, metadata: Metadata) -> Iterator[str]:
    named = {*(metadata.license_files or ())}
    yield from (f"metadata: {name} is no licence file" for name in sorted(_LICENCES - named))
    with zipfile.ZipFile(wheel) as archive:
        present = {*archive.namelist()}
        folder = _dist_info(archive) + "licenses/"
    for name in sorted(named):
        if folder + name not in present:
            yield f"metadata: licence file {name} is not in the wheel"
