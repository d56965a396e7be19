"""`PYTHONPATH=tests python -m fuzz`: sends 10,000 malformed requests and prints what came of them.

Exit status 1 if anything is wrong. `--requests` and `--seed` change the run.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fuzz.run import run

options = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
options.add_argument("--requests", type=int, default=10_000)
options.add_argument("--seed", type=int, default=1)
given = options.parse_args()
with TemporaryDirectory() as folder:
    report = run(Path(folder), requests=given.requests, seed=given.seed)
print(report)  # noqa: T201  # its purpose
sys.exit(bool(report.faults))
