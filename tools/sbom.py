"""Write the bill of materials of what `requirements/runtime.lock` installs: CycloneDX JSON.

    runtime.lock ─▶ clean environment ─▶ `cyclonedx-py environment`: licences, dependencies ┐
           └──────────────────────────▶ `cyclonedx-py requirements`: all packages, hashes ─┴─▶ one

    python -m tools.sbom [FILE]         # dist/preble-<version>.cdx.json. `make sbom`

The tool is installed by `requirements/release.lock`, in an environment of its own. A package for
other platforms has hashes and no licence: it is not installed here. Needs the package index.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from preble import __version__
from tools.release.fresh import Fresh
from tools.release.places import PYPROJECT, ROOT, RUNTIME_LOCK, TOOLS_LOCK

_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_COMMON: Final = ("--pyproject", str(PYPROJECT), "--output-reproducible")

_VALIDATE: Final = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
validator = JsonStrictValidator(SchemaVersion.from_version(sys.argv[1]))
sys.exit(validator.validate_str(open("bom.json").read()) and 1)
"""

Bom = dict[str, Any]


def main() -> int:
    """Write it. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.sbom", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="dist/… if nothing is said")
    file: Path = parser.parse_args().file or ROOT / f"dist/preble-{__version__}.cdx.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        bom = made(Path(folder))
    if missing := locked(RUNTIME_LOCK.read_text()) - {each["purl"] for each in bom["components"]}:
        print(f"not in the bill of materials: {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    file.write_bytes(msgspec.json.format(msgspec.json.encode(bom)) + b"\n")
    print(f"{file}: {len(bom['components'])} packages")
    return 0


def made(folder: Path) -> Bom:
    """The bill of materials, as the tool's own schema wants it.

    Args:
        folder: An empty one to work in.

    Raises:
        CalledProcessError: If something cannot be installed, or the tool fails.
    """
    runtime, tool = Fresh(folder / "runtime"), Fresh(folder / "tool")
    runtime.install("--require-hashes", "--requirements", str(RUNTIME_LOCK))
    tool.install("--require-hashes", "--requirements", str(TOOLS_LOCK))
    environment = ("environment", "--gather-license-texts", runtime.python)
    installed, required = (
        msgspec.json.decode(tool.run("cyclonedx-py", *each, *_COMMON, folder=folder))
        for each in (environment, ("requirements", str(RUNTIME_LOCK)))
    )
    bom = merged(installed, required)
    (folder / "bom.json").write_bytes(msgspec.json.encode(bom))
    tool.run("python", "-c", _VALIDATE, bom["specVersion"], folder=folder)
    return bom


def merged(installed: Bom, required: Bom) -> Bom:
    """One bill of materials: of each package its licence, what it needs, and its hashes.

    Args:
        installed: Of an environment.
        required: Of the lock that the environment was made of.
    """
    by_purl = {each["purl"]: each for each in installed["components"]}
    components = [_component(each, by_purl.get(each["purl"])) for each in required["components"]]
    refs = {each["bom-ref"] for each in components} | {_root(installed)}
    known = [each for each in installed["dependencies"] if each["ref"] in refs]
    absent = refs - {each["ref"] for each in known}
    dependencies = [*known, *({"ref": ref} for ref in sorted(absent))]
    return {**installed, "components": components, "dependencies": dependencies}


def _root(bom: Bom) -> str:
    """The name that Preble itself has in it."""
    return str(bom["metadata"]["component"]["bom-ref"])


def _component(required: Bom, installed: Bom | None) -> Bom:
    """What is known of one package; the lock's line is no description."""
    if installed is None:
        name = f"{required['name']}=={required['version']}"
        return {**required, "bom-ref": name, "description": "Not installed on this platform."}
    references = [*installed.get("externalReferences", ()), *required["externalReferences"]]
    licences = _licences(installed.get("licenses", ()))
    return {**installed, "externalReferences": references, "licenses": licences}


def _licences(found: Sequence[Bom]) -> list[Bom]:
    """Those that a package declares by their names in SPDX; else the texts that lie in it."""
    declared = [each for each in found if "text" not in each.get("license", ())]
    return declared or list(found)


def locked(lock: str) -> set[str]:
    """The packages of a lock, as package URLs."""
    names = ((re.sub(r"[-_.]+", "-", name).lower(), at) for name, at in _LOCKED.findall(lock))
    return {f"pkg:pypi/{name}@{at}" for name, at in names}


if __name__ == "__main__":
    sys.exit(main())
