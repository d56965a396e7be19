"""Make benchmarks/results/peers.json: real routers beside our copies of their formulas.

    python tools/compare_peers.py --routers VENV --out benchmarks/results/peers.json
    python tools/compare_peers.py --copies --out benchmarks/results/peers.json

VENV is a virtual environment with sglang-router, smg and ai-dynamo-runtime; how to make it, what
is compared and what came of it stand in docs/explanation/peers.md. Rows of other seeds, and the
part that `--only` leaves out, stay in the file. `--copies` runs no real router: it takes those over
HTTP as they stand in the file, and sets our copies of today beside them. Prints the tables.
"""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

import msgspec

from tools.peers.matches import Match, cases, match, with_new_copy
from tools.peers.mocker import KV_BLOCKS, DynamoMatch, dynamo_match
from tools.peers.tables import Row, tables

DISTRIBUTIONS: Final = ("sglang-router", "smg", "ai-dynamo-runtime")
_VERSIONS: Final = """
import sys
from importlib.metadata import version
print(*map(version, sys.argv[1:]))
"""


class Document(msgspec.Struct):
    """The file."""

    versions: dict[str, str] = {}
    routers: list[Match] = []
    dynamo: list[DynamoMatch] = []


def with_row(rows: list[Row], row: Row) -> list[Row]:
    """The rows in order, with one more, or in the place of an earlier one of the same case."""
    kept = [each for each in rows if each.case != row.case]
    kept.append(row)
    kept.sort(key=lambda each: each.case)
    return kept


def main() -> None:
    """Compare, write the file, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--routers", type=Path)
    source.add_argument("--copies", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("routers", "dynamo"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    out: Path = asked.out
    document = msgspec.json.decode(out.read_bytes(), type=Document) if out.exists() else Document()
    if asked.copies:
        document.routers = [with_new_copy(row) for row in document.routers]
        _write(document, out)
    else:
        _compare(asked.routers / "bin" / "python", document, out, asked.only, asked.seeds)
    print("\n".join(tables(document.routers, document.dynamo)))


def _compare(
    python: Path, document: Document, out: Path, only: str | None, seeds: Sequence[int]
) -> None:
    """With what runs on that Python; writes the file after each comparison."""
    document.versions = versions(python)
    if only != "dynamo":
        for router, name, seed in cases(seeds):
            _say(f"{router.name}: {name}, seed {seed}")
            done = asyncio.run(match(python, router, name, seed))
            document.routers = with_row(document.routers, done)
            _write(document, out)
    if only != "routers":
        for name, seed in product(KV_BLOCKS, seeds):
            _say(f"dynamo: {name}, seed {seed}")
            replayed = dynamo_match(python, name, seed)
            document.dynamo = with_row(document.dynamo, replayed)
            _write(document, out)


def versions(python: Path) -> dict[str, str]:
    """Of what is compared.

    Raises:
        CalledProcessError: If one is not installed.
    """
    command = [str(python), "-c", _VERSIONS, *DISTRIBUTIONS]
    found = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return dict(zip(DISTRIBUTIONS, found.stdout.split(), strict=True))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def _write(document: Document, out: Path) -> None:
    out.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


if __name__ == "__main__":
    main()
