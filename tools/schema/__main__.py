"""Write what versions of Preble share, or compare the code with what was written. ADR 0040.

python -m tools.schema             # after a change of a key, a message or a setting
python -m tools.schema --check     # exit status 1 and the differences, if the code has others
python -m tools.schema --accept    # also what breaks: no release has it, or a major version may
"""

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Final

from preble.config.sources import RENAMED
from tools.schema.layout import Layout, layout
from tools.schema.rules import breaks

GOLDEN: Final = Path(__file__).parents[2] / "tests/golden/schema.json"
_REMEDY: Final = "docs/explanation/compatibility.md says what may change"
_BREAK_REMEDY: Final = (
    "a process of the last release would misread it. Add instead of changing, or raise SCHEMA "
    "(preble/broker/agreement.py), or let RENAMED (preble/config/sources.py) have the old setting"
)


def main() -> int:
    """Write or check the layout. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; say what differs")
    parser.add_argument("--accept", action="store_true", help="write also what breaks")
    asked = parser.parse_args()
    complaint = trouble(read(), layout())
    if asked.check:
        print(complaint, file=sys.stderr, end="\n" if complaint else "")
        return 1 if complaint else 0
    if breaks(read(), layout(), renamed=RENAMED) and not asked.accept:
        print(complaint, file=sys.stderr)
        return 1
    GOLDEN.write_text(written(layout()))
    return 0


def read() -> Layout:
    """The layout that was agreed on."""
    found: Layout = json.loads(GOLDEN.read_text())
    return found


def written(made: Layout) -> str:
    """A layout as the file has it."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def trouble(was: Layout, is_now: Layout) -> str:
    """How the code differs from what was agreed on, and what to do; empty if it does not."""
    if was == is_now:
        return ""
    before, after = written(was).splitlines(), written(is_now).splitlines()
    diff = difflib.unified_diff(before, after, GOLDEN.name, "the code", lineterm="", n=1)
    broken = breaks(was, is_now, renamed=RENAMED)
    remedy = (
        [f"BREAKS: {each}" for each in broken] + [_BREAK_REMEDY]
        if broken
        else ["nothing breaks: python -m tools.schema writes it"]
    )
    return "\n".join([*diff, "", *remedy, _REMEDY])


if __name__ == "__main__":
    sys.exit(main())
