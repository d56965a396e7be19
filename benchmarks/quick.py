"""An experiment made small: does everything work? Its figures mean nothing."""

from typing import Final

from msgspec.structs import replace

from benchmarks.spec import Experiment, Scenario
from preble.simulator.source import Source

REQUESTS: Final = 200
SEEDS: Final = 2
SLOTS: Final = 4
"""Of each engine: with more, so few requests would run all at once, at any rate."""
WINDOW_JOBS: Final = 8
"""Planned at once by late binding."""


def quick(experiment: Experiment) -> Experiment:
    """Few requests and seeds, and two of the loads."""
    scenarios = tuple(map(_quick, experiment.scenarios))
    return replace(experiment, scenarios=scenarios, seeds=min(SEEDS, experiment.seeds))


def _quick(scenario: Scenario) -> Scenario:
    loads = scenario.loads
    engine = replace(scenario.pool.engine, slots=SLOTS)
    return replace(
        scenario,
        sources=tuple(map(_few, scenario.sources[:SEEDS])),
        pool=replace(scenario.pool, engine=engine, window_jobs=WINDOW_JOBS),
        loads=(loads[0], loads[-1]) if len(loads) > 1 else loads,
    )


def _few(source: Source) -> Source:
    return replace(source, num_requests=min(REQUESTS, source.num_requests or REQUESTS))
