"""`python -m benchmarks NAME ...`: run experiments, and write their results, pages and figures."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from benchmarks.cells import Cell, Plan, plan
from benchmarks.experiments import EXPERIMENTS
from benchmarks.figures import draw
from benchmarks.pages import page
from benchmarks.quick import quick
from benchmarks.runner import run
from benchmarks.spec import Experiment
from benchmarks.store import Store
from benchmarks.summary import Summary
from preble.errors import ConfigError

RESULTS: Final = Path(__file__).parent / "results"
QUICK_RESULTS: Final = Path(".preble") / "benchmarks"
"""Which git ignores."""

logger = logging.getLogger("benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    names = list(EXPERIMENTS) if asked.name == "all" else [asked.name]
    try:
        for name in names:
            _make(EXPERIMENTS[name], asked)
    except ConfigError as error:
        logger.error("%s", error)  # noqa: TRY400 - what to do stands in it, not in the stack
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=["all", *EXPERIMENTS])
    parser.add_argument("--seeds", type=int, help="how many, instead of the experiment's own")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--traces", type=Path, help="folder of traces that are not shipped")
    parser.add_argument("--quick", action="store_true", help="small, to see that all works")
    parser.add_argument(
        "--only",
        default="*",
        help="scenarios or contenders like one of these, such as `preble*,mooncake*/smg`",
    )
    parser.add_argument("--anew", action="store_true", help="measure again what is there")
    parser.add_argument("--out", type=Path, help="folder of the results")
    return parser


def _make(experiment: Experiment, asked: argparse.Namespace) -> None:
    """Measure what lacks, then show all that is there."""
    experiment = quick(experiment) if asked.quick else experiment
    out: Path = asked.out or (QUICK_RESULTS if asked.quick else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    store = Store(out / f"{experiment.name}.jsonl")
    seeds = asked.seeds or experiment.seeds
    whole = _plan(experiment, seeds, store)
    wanted = list(_wanted(whole, store, seeds, asked.only, is_anew=asked.anew))
    logger.info("%s: %d of %d cells to measure", experiment.name, len(wanted), len(whole.cells))
    run(whole, store, wanted=wanted, jobs=asked.jobs, folder=asked.traces)
    rows = store.tidy([*whole.capacities, *whole.cells])
    summary = Summary(row for row in rows if row.key in whole.cells)
    (out / f"{experiment.name}.md").write_text(page(experiment, summary))
    draw(experiment, summary, out / f"{experiment.name}.png")


def _plan(experiment: Experiment, seeds: int, store: Store) -> Plan:
    """With all seeds that were ever asked for: who asks for fewer does not throw rows away."""
    known = [row.seed for row in store.rows.values()]
    return plan(replace(experiment, seeds=max(seeds, experiment.seeds, *known, 0)))


def _wanted(whole: Plan, store: Store, seeds: int, only: str, *, is_anew: bool) -> Iterator[str]:
    for key, cell in whole.cells.items():
        if cell.seed <= seeds and _is_meant(cell, only) and (is_anew or key not in store.rows):
            yield key


def _is_meant(cell: Cell, only: str) -> bool:
    names = (cell.scenario, cell.contender, f"{cell.scenario}/{cell.contender}")
    return any(fnmatchcase(name, part) for name, part in product(names, only.split(",")))


if __name__ == "__main__":
    sys.exit(main())
