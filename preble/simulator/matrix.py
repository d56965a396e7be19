"""Policies, loads and seeds, each with each: many replays, over several processes."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product

import msgspec
from msgspec.structs import replace

from preble import __version__
from preble.config import PolicyName
from preble.simulator.bounds import bounds
from preble.simulator.capacity import sustained_rps
from preble.simulator.outcome import PoolSettings
from preble.simulator.replay import replay
from preble.simulator.report import Figures, figures
from preble.simulator.source import Source


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. At most one of `rates_rps` and `loads` is given.

    Args:
        source: Of the requests.
        pool: Its policy is replaced by each of `policies`.
        policies: To compare.
        rates_rps: Arrivals a second.
        loads: As shares of what `least_outstanding` sustains with the first seed.
        seeds: Of the requests.
        warm_up: Share of the requests, the first, that are not measured.
        timeline_s: Seconds between the samples of the timeline; None for no timeline.
    """

    source: Source
    pool: PoolSettings
    policies: tuple[PolicyName, ...]
    rates_rps: tuple[float, ...] = ()
    loads: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (1,)
    warm_up: float = 0.25
    timeline_s: float | None = None


class Report(msgspec.Struct, frozen=True):
    """The document that `preble simulate --json` writes."""

    version: str
    plan: Plan
    sustained_rps: float | None
    """What a load of 1 is; None if no load was asked for."""
    runs: tuple[Figures, ...]
    """By load, then policy, then seed."""


class Cell(msgspec.Struct, frozen=True):
    """One replay of a plan."""

    policy: PolicyName
    seed: int
    rps: float | None
    load: float | None


def simulate(plan: Plan, *, jobs: int, on_run: Callable[[int, int], object]) -> Report:
    """Run a plan.

    Args:
        plan: What to simulate.
        jobs: Processes to use; with 1, all happens in this one. The result is the same.
        on_run: Told how many replays have ended, of how many.

    Raises:
        ConfigError: If workload, trace, cost model or sizes are wrong.
    """
    sustained = _sustained_rps(plan) if plan.loads else None
    cells = list(_cells(plan, sustained))
    on_run(0, len(cells))
    if jobs == 1 or len(cells) == 1:
        runs = _run_here(plan, cells, on_run)
    else:
        runs = _run_apart(plan, cells, jobs, on_run)
    return Report(__version__, plan, sustained, tuple(runs))


def run_cell(plan: Plan, cell: Cell) -> Figures:
    """One replay and its figures. Raises: ConfigError."""
    workload = plan.source.load(seed=cell.seed, rps=cell.rps)
    skip = int(plan.warm_up * len(workload.requests))
    pool = replace(plan.pool, policy=cell.policy)
    replayed = replay(workload, pool, timeline_s=plan.timeline_s)
    return figures(
        replayed, bounds(workload, pool, skip=skip), policy=cell.policy, seed=cell.seed,
        load=cell.load, rps=cell.rps or workload.rps, skip=skip,
    )  # fmt: skip


def _sustained_rps(plan: Plan) -> float:
    return sustained_rps(plan.source, plan.pool, seed=plan.seeds[0], warm_up=plan.warm_up)


def _cells(plan: Plan, sustained: float | None) -> Iterator[Cell]:
    rates: list[tuple[float | None, float | None]] = [(None, None)]
    if sustained is not None:
        rates = [(load * sustained, load) for load in plan.loads]
    elif plan.rates_rps:
        rates = [(rps, None) for rps in plan.rates_rps]
    for (rps, load), policy, seed in product(rates, plan.policies, plan.seeds):
        yield Cell(policy, seed, rps, load)


def _run_here(plan: Plan, cells: list[Cell], on_run: Callable[[int, int], object]) -> list[Figures]:
    runs: list[Figures] = []
    for cell in cells:
        runs.append(run_cell(plan, cell))
        on_run(len(runs), len(cells))
    return runs


def _run_apart(
    plan: Plan, cells: list[Cell], jobs: int, on_run: Callable[[int, int], object]
) -> list[Figures]:
    # Spawned, not forked: a progress bar runs in a thread, and threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(cells)), mp_context=context) as executor:
        futures = [executor.submit(run_cell, plan, cell) for cell in cells]
        try:
            for ended, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_run(ended, len(cells))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]
