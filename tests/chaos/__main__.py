"""`PYTHONPATH=tests python -m chaos`: breaks a pool in every way it knows, and tells of it.

    python -m chaos --seed 1 --jobs 100000 --faults 300
    python -m chaos poison | rolling | overload

Exit status 1 if anything that is promised did not hold.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

from chaos import faults_scenario, overload_scenario, poison_scenario, rolling_scenario
from chaos.outcome import report
from chaos.wanted import POOL_KINDS, Wanted

from preble.serve.embedded_redis import valkey_binary

SCENARIOS: Final = {
    "faults": faults_scenario.run,
    "poison": poison_scenario.run,
    "rolling": rolling_scenario.run,
    "overload": overload_scenario.run,
}


def main() -> int:
    """Run what the command line asks for. Returns the exit status."""
    arguments = _arguments()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(
        folder, arguments.redis_server or valkey_binary(), arguments.seed, arguments.jobs,
        arguments.faults, arguments.seconds, arguments.timeout_s,
        with_all_means=not arguments.plain, engine=arguments.engine,
    )  # fmt: skip
    # Not uvloop: httpx2 stumbles over its connections that are reset as they are made.
    outcome = asyncio.run(SCENARIOS[arguments.scenario](wanted))
    sys.stdout.write(f"{report(outcome)}\nlogs and all that clients asked: {folder}\n")
    return 1 if outcome.offences else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, default="faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=300, help="of `overload`")
    parser.add_argument("--timeout-s", type=float, default=3_600)
    parser.add_argument("--redis-server", type=Path, help="instead of the embedded Valkey")
    parser.add_argument("--folder", type=Path, help="for logs and data; an empty one")
    parser.add_argument("--engine", choices=POOL_KINDS, default="emulated", help="of the workers")
    parser.add_argument("--plain", action="store_true", help="leave out what takes root")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
