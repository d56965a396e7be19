"""Cells, over several processes: a row in the store for each, as it ends."""

import logging
import multiprocessing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.cells import Cell, Plan
from benchmarks.measure import measure
from benchmarks.store import Row, Store, row
from benchmarks.trace_files import is_there
from preble.simulator.matrix import end_with_parent

logger = logging.getLogger("benchmarks")

_REPORT_EVERY_S: Final = 15.0

_Task = tuple[Cell, float | None]
"""A cell and its arrivals a second."""


def run(plan: Plan, store: Store, *, wanted: Iterable[str], jobs: int, folder: Path | None) -> None:
    """Measure the wanted cells, and first the capacities that they need and the store lacks.

    Args:
        plan: All cells.
        store: Where rows go.
        wanted: Keys of cells; those whose trace is missing are left out.
        jobs: Processes, each with one replay at a time.
        folder: Of traces that are not ours.

    Raises:
        ConfigError: If the simulator refuses a cell.
    """
    cells = list(_possible((plan.cells[key] for key in wanted), folder))
    lacking = {cell.capacity for cell in cells if cell.load is not None} - store.rows.keys()
    capacities: list[_Task] = [
        (cell, None) for key, cell in plan.capacities.items() if key in lacking
    ]
    _run_all("capacities", capacities, store, jobs, folder)
    _run_all("cells", [(cell, _rps(cell, store.rows)) for cell in cells], store, jobs, folder)


def _possible(cells: Iterable[Cell], folder: Path | None) -> Iterator[Cell]:
    missing: set[str | None] = set()
    for cell in cells:
        if is_there(cell.source, folder):
            yield cell
        elif cell.source.trace not in missing:
            missing.add(cell.source.trace)
            logger.warning("there is no %s: --traces names its folder", cell.source.trace)


def _rps(cell: Cell, rows: Mapping[str, Row]) -> float | None:
    return cell.rps if cell.load is None else cell.load * rows[cell.capacity].values["rps"]


def _run_all(
    what: str, tasks: Sequence[_Task], store: Store, jobs: int, folder: Path | None
) -> None:
    started_s = told_s = monotonic()
    for ended, result in enumerate(_results(tasks, jobs, folder), start=1):
        store.add(result)
        if monotonic() - told_s > _REPORT_EVERY_S or ended == len(tasks):
            told_s = monotonic()
            gone_s = told_s - started_s
            left_s = gone_s * (len(tasks) - ended) / ended
            logger.info(
                "%d of %d %s, %.0f s, %.0f s to go", ended, len(tasks), what, gone_s, left_s
            )


def _results(tasks: Sequence[_Task], jobs: int, folder: Path | None) -> Iterator[Row]:
    """As they come."""
    if jobs == 1:
        yield from (_run_one(*task, folder) for task in tasks)
        return
    # Spawned, not forked: the same on every platform.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, end_with_parent) as executor:
        futures = [executor.submit(_run_one, *task, folder) for task in tasks]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _run_one(cell: Cell, rps: float | None, folder: Path | None) -> Row:
    return row(cell, measure(cell, rps, folder))
