"""What would be released: nothing is missing in it, nothing too much, and mistakes are told."""

import tarfile
import zipfile
from io import BytesIO
from pathlib import Path
from shutil import copy

import pytest

from tools.check_release import check, files
from tools.release.building import Built, build
from tools.release.contents import MOST_BYTES, of_sdist, of_wheel
from tools.release.metadata import of_wheel as of_metadata

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("dist"))


def with_file(archive: Path, folder: Path, name: str, content: bytes) -> Path:
    """A copy of a wheel with one file more."""
    changed = folder / archive.name
    copy(archive, changed)
    with zipfile.ZipFile(changed, "a") as wheel:
        wheel.writestr(name, content)
    return changed


def without_file(archive: Path, folder: Path, name: str, replacement: bytes | None = None) -> Path:
    """A copy of a wheel with one file less, or another one in its place."""
    changed = folder / archive.name
    with zipfile.ZipFile(archive) as wheel, zipfile.ZipFile(changed, "w") as copied:
        for each in wheel.namelist():
            content = replacement if each == name else wheel.read(each)
            if content is not None:
                copied.writestr(each, content)
    return changed


def test_what_this_tree_builds_is_fit(tmp_path: Path) -> None:
    assert list(check(tmp_path, offline=True)) == []


def test_a_foreign_package_is_told(built: Built, tmp_path: Path) -> None:
    wheel = with_file(built.wheel, tmp_path, "tests/test_x.py", b"")
    assert list(of_wheel(wheel)) == ["wheel: tests/test_x.py is none of ours"]


@pytest.mark.parametrize("name", [
    "preble/broker/scripts/admit.lua", "preble/data/cost_models/noop.json",
    "preble/data/tokenizer/tokenizer.json", "preble/data/engines/gpu.lock",
])  # fmt: skip
def test_missing_and_altered_data_are_told(built: Built, tmp_path: Path, name: str) -> None:
    assert list(of_wheel(without_file(built.wheel, tmp_path, name))) == [
        f"wheel: {name} is missing"
    ]
    altered = without_file(built.wheel, tmp_path, name, b"other")
    assert list(of_wheel(altered)) == [f"wheel: {name} is not as in the source tree"]


def test_a_package_without_types_is_told(built: Built, tmp_path: Path) -> None:
    wheel = without_file(built.wheel, tmp_path, "preble_workers/py.typed")
    assert "wheel: preble_workers has no py.typed, so that its types count for nobody" in list(
        of_wheel(wheel)
    )


def test_wrong_metadata_are_told(built: Built, tmp_path: Path) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        (name,) = (each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
        said = wheel.read(name).decode()
    folder = name.removesuffix("METADATA")
    said = said.replace("Classifier: Typing :: Typed", "Classifier: Typing :: Untyped")
    said = said.replace("\nVersion: ", "\nVersion: 1").replace("# Preble", "Preble")
    wheel_file = without_file(built.wheel, tmp_path, name, said.encode())
    complaints = "\n".join(of_metadata(wheel_file))
    assert "'Typing :: Untyped' is no classifier" in complaints
    assert "versions differ" in complaints
    assert "no title" in complaints
    unlicensed = without_file(built.wheel, tmp_path, f"{folder}licenses/NOTICE")
    assert list(of_metadata(unlicensed)) == ["metadata: licence file NOTICE is not in the wheel"]


def test_junk_in_an_sdist_is_told(tmp_path: Path) -> None:
    sdist = tmp_path / "preble-1.tar.gz"
    junk = {".ci/run": 1, "preble/x.orig": 1, "preble/big.json": MOST_BYTES + 1, "tests/x.py": 1}
    with tarfile.open(sdist, "w:gz") as archive:
        for name, size in junk.items():
            member = tarfile.TarInfo(f"preble-1/{name}")
            member.size = size
            archive.addfile(member, BytesIO(bytes(size)))
    complaints = list(of_sdist(sdist))
    assert "sdist: .ci/run belongs to no package" in complaints
    assert "sdist: tests/x.py belongs to no package" in complaints
    assert "sdist: pyproject.toml is missing" in complaints
    assert "sdist: preble/x.orig is junk" in complaints
    assert "sdist: preble/big.json has 4,194,305 bytes" in complaints


def test_an_sdist_that_builds_another_wheel_is_told(built: Built, tmp_path: Path) -> None:
    other = Built(with_file(built.wheel, tmp_path, "preble/more.py", b""), built.sdist)
    complaints = list(files(other, tmp_path / "source"))
    assert complaints == [
        "wheel: preble/more.py is none of ours",
        "sdist: what it builds is not the wheel",
    ]
