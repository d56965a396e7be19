"""Write the reference pages that are made of the code, or check those that are there.

python -m tools.reference             # after a change of a route, command, setting, key, metric
python -m tools.reference --check     # exit status 1 and a diff, if a page is not as the code is
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.reference import cli, configuration, http, keys, metrics

FOLDER: Final = Path(__file__).parents[2] / "docs/reference"

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "http.md": http.page,
    "cli.md": cli.page,
    "configuration.md": configuration.page,
    "keys.md": keys.page,
    "metrics.md": metrics.page,
}

_REMEDY: Final = "make the pages anew: python -m tools.reference"


def main() -> int:
    """Write or check all pages. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    asked = parser.parse_args()
    if not asked.check:
        for name, page in PAGES.items():
            (FOLDER / name).write_text(page())
        return 0
    stale = {name: diff for name in PAGES if (diff := difference(name))}
    for diff in stale.values():
        print(diff)
    if stale:
        print(f"{', '.join(stale)}: not as the code is; {_REMEDY}", file=sys.stderr)
    return 1 if stale else 0


def difference(name: str, folder: Path = FOLDER) -> str:
    """How a page that is there differs from what the code says; empty if it does not."""
    path = folder / name
    there = path.read_text().splitlines() if path.exists() else []
    made = PAGES[name]().splitlines()
    return "\n".join(
        difflib.unified_diff(there, made, f"docs/reference/{name}", "the code", lineterm="")
    )


if __name__ == "__main__":
    sys.exit(main())
