"""Make benchmarks/results/peers.json: real routers beside our copies of their formulas.

    python tools/compare_peers.py --routers VENV --out benchmarks/results/peers.json

VENV is a virtual environment with sglang-router, smg and ai-dynamo-runtime; how to make it, what
is compared and what came of it stand in docs/explanation/peers.md. Rows of other seeds, and the
part that `--only` leaves out, stay in the file. Prints the tables.
"""

import argparse
import asyncio
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Final

import msgspec

from tools.peers.matches import Match, cases, match
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
    """Compare, and write the file after each comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--routers", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("routers", "dynamo"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = parser.parse_args()
    python: Path = asked.routers / "bin" / "python"
    out: Path = asked.out
    seeds: list[int] = asked.seeds
    document = msgspec.json.decode(out.read_bytes(), type=Document) if out.exists() else Document()
    document.versions = versions(python)
    if asked.only != "dynamo":
        for router, name, seed in cases(seeds):
            _say(f"{router.name}: {name}, seed {seed}")
            done = asyncio.run(match(python, router, name, seed))
            document.routers = with_row(document.routers, done)
            _write(document, out)
    if asked.only != "routers":
        for name, seed in product(KV_BLOCKS, seeds):
            _say(f"dynamo: {name}, seed {seed}")
            replayed = dynamo_match(python, name, seed)
            document.dynamo = with_row(document.dynamo, replayed)
            _write(document, out)
    print("\n".join(tables(document.routers, document.dynamo)))


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
