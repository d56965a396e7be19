"""Pictures of every view of the console, light and dark, of a pool that works.

    a private stack ─▶ jobs on the project's own pages, batches, failures   work.py
                                        │
                                        ▼
                     Chromium ─▶ FOLDER/VIEW-THEME.png, axe's judgement     views.py

    python -m tools.console_shots FOLDER [--engine emulated]

SGLang must be installed (`preble engine install cpu`). Exit status 1 if a view logs an error, or if
axe finds something serious in it.
"""

import argparse
import os
import sys
from pathlib import Path

from preble.client import Client
from preble.config import load_settings
from preble.serve.private import private_stack
from tools.console_shots.views import photograph, views_of
from tools.console_shots.work import give_work

MAX_RUN_S = 40.0
"""For which a job may run: what is asked too much fails by it."""


def main() -> int:
    """Take the pictures. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.console_shots", description="Pictures of the console at work."
    )
    parser.add_argument("folder", type=Path, help="Where the pictures go.")
    parser.add_argument("--engine", choices=["sglang", "emulated"], default="sglang")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    settings = load_settings(
        os.environ,
        engine=asked.engine,
        workers=2,
        max_run_s=MAX_RUN_S,
        max_attempts=1,
        console_text=True,
    )
    with private_stack(settings) as stack, Client(stack.url) as client:
        print(f"the console is at {stack.url}/ui", flush=True)
        work = give_work(client)
        troubles = photograph(stack.url, views_of(work), asked.folder)
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    print(f"{len(troubles)} troubles in {len(views_of(work))} views, in two themes each")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
