"""The lock of an environment, and how far an environment is from it."""

import re
import shutil
from collections.abc import Collection, Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import NamedTuple


class Pin(NamedTuple):
    """One package of a lock: `text` is its requirement with all its hashes."""

    name: str
    version: str
    text: str

    @property
    def is_from_torch_index(self) -> bool:
        """Whether it is a build of PyTorch's own index: those have a local version (`+cpu`)."""
        return self.name == "torch" and "+" in self.version


def read_pins(lock: Path) -> list[Pin]:
    """All packages of a lock that `tools/lock_engines.sh` made."""
    text = lock.read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [_read_pin(line) for line in lines if line and not line.startswith("#")]


def _read_pin(line: str) -> Pin:
    requirement, *_ = line.split()
    name, _, version = requirement.partition("==")
    return Pin(_normal(name), version, line)


def broken_pins(pins: Iterable[Pin], packages: Path) -> list[Pin]:
    """The packages that are absent, of another version, or lack a file or part of one."""
    there = _by_name(packages)
    return [pin for pin in pins if not _is_whole(there.get(pin.name), pin)]


def damaged_pins(pins: Collection[Pin], packages: Path) -> list[Pin]:
    """Of broken packages, those that are there in their version: files of them are not whole."""
    there = versions(packages, (pin.name for pin in pins))
    return [pin for pin in pins if there.get(pin.name) == pin.version]


def forget_unfinished(packages: Path) -> None:
    """Remove the records of packages whose placing was cut off; uv trips over them."""
    for info in packages.glob("*.dist-info"):
        if not all((info / name).exists() for name in ("METADATA", "RECORD")):
            shutil.rmtree(info)


def erase_bytecode(pins: Iterable[Pin], packages: Path) -> None:
    """Remove the bytecode of those packages that are there, in whichever version.

    Wheels are made with constant file times, so bytecode of another version can pass for new.
    """
    there = _by_name(packages)
    found = (there[pin.name].files or () for pin in pins if pin.name in there)
    for source in (Path(str(file.locate())) for files in found for file in files):
        if source.suffix == ".py":
            for compiled in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
                compiled.unlink()


def strangers(pins: Iterable[Pin], packages: Path) -> list[str]:
    """Names of installed packages that the lock does not have (any more)."""
    return sorted(_by_name(packages).keys() - {pin.name for pin in pins})


def versions(packages: Path, names: Iterable[str]) -> dict[str, str]:
    """Versions of those of the named packages that are installed."""
    there = _by_name(packages)
    return {name: there[name].version for name in names if name in there}


def _by_name(packages: Path) -> dict[str, Distribution]:
    found = distributions(path=[str(packages)])
    # One that was cut off while it was placed has no name yet.
    named = (one for one in found if "Name" in one.metadata)
    return {_normal(one.metadata["Name"]): one for one in named}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_whole(there: Distribution | None, pin: Pin) -> bool:
    if there is None or there.version != pin.version:
        return False
    files = there.files
    # Bytecode is made anew whenever it does not suit; some wheels bring other people's.
    return files is not None and all(
        _has_size(Path(str(file.locate())), file.size) for file in files if file.suffix != ".pyc"
    )


def _has_size(file: Path, size: int | None) -> bool:
    # RECORD gives no size for itself.
    try:
        return size is None or file.stat().st_size == size
    except OSError:
        return False
