"""Policies, loads and seeds, each with each: many replays, over several processes."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from itertools import product
from multiprocessing.process import BaseProcess
from threading import Thread

import msgspec
from msgspec.structs import replace

from preble import __version__
from preble.config import Binding, PolicyName
from preble.simulator.bounds import bounds
from preble.simulator.capacity import sustained_rps
from preble.simulator.outcome import PoolSettings
from preble.simulator.reference import sorted_and_partitioned_makespan_s
from preble.simulator.replay import replay
from preble.simulator.report import Figures, figures
from preble.simulator.source import Source


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate. At most one of `rates_rps` and `loads` is given.

    Args:
        source: Of the requests.
        pool: Its policy is replaced by each of `policies`.
        policies: To compare: a `PolicyName` each, or an import path.
        bindings: To compare each policy with; none for the pool's own.
        rates_rps: Arrivals a second.
        loads: As shares of what the yardstick sustains with the first seed.
        yardstick: The policy whose capacity is a load of 1; see `capacity`.
        seeds: Of the requests.
        warm_up: Share of the requests, the first, that are not measured. Those that come all at
            once have no first ones: all are measured.
        timeline_s: Seconds between the samples of the timeline; None for no timeline.
    """

    source: Source
    pool: PoolSettings
    policies: tuple[str, ...]
    bindings: tuple[Binding, ...] = ()
    rates_rps: tuple[float, ...] = ()
    loads: tuple[float, ...] = ()
    yardstick: PolicyName = "least_outstanding"
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
    """By load, then policy, then binding, then seed."""


class Cell(msgspec.Struct, frozen=True):
    """One replay of a plan."""

    policy: str
    binding: Binding
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
    source = plan.source
    workload = source.load(seed=cell.seed, rps=cell.rps)
    skip = 0 if source.offline else int(plan.warm_up * len(workload.requests))
    pool = replace(plan.pool, policy=cell.policy, binding=cell.binding)
    replayed = replay(workload, pool, timeline_s=plan.timeline_s, skip=skip)
    return figures(
        replayed, bounds(workload, pool, skip=skip), policy=cell.policy, binding=cell.binding,
        seed=cell.seed, load=cell.load, rps=cell.rps or workload.rps, skip=skip,
        burst=source.burst,
        makespan_reference_s=_reference_s(source, pool, cell.seed) if source.offline else None,
    )  # fmt: skip


def _reference_s(source: Source, pool: PoolSettings, seed: int) -> float:
    """The same for all policies, and for batches in whatever order."""
    steady = replace(pool, policy="round_robin", binding="eager", changes=())
    return _sorted_makespan_s(replace(source, offline="sorted"), steady, seed)


@lru_cache(maxsize=4)
def _sorted_makespan_s(source: Source, pool: PoolSettings, seed: int) -> float:
    return sorted_and_partitioned_makespan_s(source.load(seed=seed, rps=None), pool)


def _sustained_rps(plan: Plan) -> float:
    return sustained_rps(
        plan.source, plan.pool, seed=plan.seeds[0], warm_up=plan.warm_up,
        yardstick=plan.yardstick,
    )  # fmt: skip


def _cells(plan: Plan, sustained: float | None) -> Iterator[Cell]:
    rates: list[tuple[float | None, float | None]] = [(None, None)]
    if sustained is not None:
        rates = [(load * sustained, load) for load in plan.loads]
    elif plan.rates_rps:
        rates = [(rps, None) for rps in plan.rates_rps]
    bindings = plan.bindings or (plan.pool.binding,)
    runs = product(rates, plan.policies, bindings, plan.seeds)
    for (rps, load), policy, binding, seed in runs:
        yield Cell(policy, binding, seed, rps, load)


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
    with ProcessPoolExecutor(
        min(jobs, len(cells)), mp_context=context, initializer=end_with_parent
    ) as executor:
        futures = [executor.submit(run_cell, plan, cell) for cell in cells]
        try:
            for ended, future in enumerate(as_completed(futures), start=1):
                future.result()
                on_run(ended, len(cells))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
        return [future.result() for future in futures]


def end_with_parent() -> None:
    """End this process when its parent does, which, killed, could not say so."""
    parent = multiprocessing.parent_process()
    if parent:
        Thread(target=_exit_after, args=(parent,), daemon=True).start()


def _exit_after(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
