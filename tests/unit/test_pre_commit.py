"""What is checked before a commit is what `make check` checks."""

import re

from reader_support import ROOT

HOOK = re.compile(r"entry: (\.venv/bin/[^}\n]*[^} \n])")
RECIPE = re.compile(r"^check:.*\n((?:\t.*\n)+)", re.MULTILINE)


def test_hooks_run_what_make_check_runs() -> None:
    hooks = HOOK.findall((ROOT / ".pre-commit-config.yaml").read_text())
    recipe = RECIPE.search((ROOT / "Makefile").read_text())
    assert recipe
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert hooks == commands
