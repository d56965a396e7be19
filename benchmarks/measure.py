"""What is done in a cell: replays by the simulator, and the figures that are kept of them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from benchmarks.cells import Cell
from benchmarks.recovery import recovery
from benchmarks.spec import Measure
from benchmarks.store import Values
from benchmarks.trace_files import located, with_cost_model
from preble.config import PolicyName
from preble.simulator import matrix
from preble.simulator.capacity import sustained_rps
from preble.simulator.changes import Change
from preble.simulator.report import Figures
from preble.simulator.source import DEFAULT_RPS, Source


def measure(cell: Cell, rps: float | None, folder: Path | None) -> Values:
    """Figures of a cell.

    Args:
        cell: What to do.
        rps: Arrivals a second; None if all requests are there at once.
        folder: Of traces that are not ours.

    Raises:
        ConfigError: If the simulator refuses the settings, or a trace is missing.
    """
    there = replace(cell, pool=with_cost_model(cell.pool))
    return _MEASURES[cell.measure](there, located(cell.source, folder), rps)


def _capacity(cell: Cell, source: Source, _: float | None) -> Values:
    yardstick = msgspec.convert(cell.pool.policy, PolicyName)
    sustained = sustained_rps(
        source, cell.pool, seed=cell.seed, warm_up=cell.warm_up, yardstick=yardstick
    )
    return {"rps": sustained}


def _replay(cell: Cell, source: Source, rps: float | None) -> Values:
    pool = replace(cell.pool, changes=_changes(cell, source, rps))
    plan = matrix.Plan(source=source, pool=pool, policies=(pool.policy,), warm_up=cell.warm_up)
    run = matrix.run_cell(plan, matrix.Cell(pool.policy, pool.binding, cell.seed, rps, cell.load))
    served_load = cell.load * run.requests_per_s / run.rps if cell.load else None
    return _known(_figures(run) | _tenants(run) | {"served_load": served_load})


def _changes(cell: Cell, source: Source, rps: float | None) -> tuple[Change, ...]:
    """The cell's events, in seconds."""
    if not cell.events:
        return ()
    span_s = source.load(seed=cell.seed, rps=rps).requests[-1].at_s
    return tuple(
        Change(event.share * span_s, event.instance, event.kind, event.factor)
        for event in cell.events
    )


def _burst(cell: Cell, source: Source, rps: float | None) -> Values:
    load = cell.load or 1.0
    found = recovery(source, cell.pool, seed=cell.seed, rps=rps or DEFAULT_RPS, load=load)
    return _known(
        {
            "rps": rps,
            "backlog": found.drain.level_at_end - found.drain.level_before,
            "drained_per_s": found.drain.drained_per_s,
            "fresh_per_s": found.fresh_per_s,
            "drain_share": found.share,
        }
    )


def _known(values: Mapping[str, float | None]) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def _figures(run: Figures) -> dict[str, float | None]:
    reference_s = run.makespan_reference_s
    return {
        "rps": run.rps,
        "mean_s": run.latency_s.mean,
        "p50_s": run.latency_s.p50,
        "p99_s": run.latency_s.p99,
        "ttft_s": run.ttft_s.mean,
        "wait_s": run.wait_s.mean,
        "bound_s": run.mean_latency_bound_s,
        "hit_rate": run.hit_rates.delivered,
        "hit_bound": run.hit_rates.bound,
        "imbalance": run.prefill_imbalance,
        "busy_imbalance": run.busy_imbalance,
        "makespan_s": run.makespan_s,
        "reference_s": reference_s,
        "of_reference": run.makespan_s / reference_s if reference_s else None,
    }


def _tenants(run: Figures) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name, tenant in run.tenants.items():
        values |= {
            f"{name}_mean_s": tenant.latency_s.mean,
            f"{name}_p99_s": tenant.latency_s.p99,
            f"{name}_wait_s": tenant.wait_s.mean,
            f"{name}_wait_p99_s": tenant.wait_s.p99,
            f"{name}_share": tenant.contended_share,
        }
    return values


_MEASURES: Final[dict[Measure, Callable[[Cell, Source, float | None], Values]]] = {
    "capacity": _capacity,
    "replay": _replay,
    "burst": _burst,
}
