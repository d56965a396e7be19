"""Cells: an experiment cut into what one process measures at a time.

A cell's key is a hash of all it depends on but the code, so that a result is known again, and
one whose settings have changed is not. A cell at a load depends on its capacity cell, which says
what a load of 1 is.
"""

from collections.abc import Iterator
from itertools import product
from typing import Final

import msgspec
from msgspec.structs import replace
from xxhash import xxh3_64_hexdigest

from benchmarks.spec import Contender, Event, Experiment, Measure, Scenario
from preble.simulator.outcome import PoolSettings
from preble.simulator.source import Source

WARM_UP: Final = 0.25
"""Share of the requests, the first, that are not measured."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """What one process measures.

    Args:
        scenario: Name.
        contender: Name.
        measure: What is done.
        source: Of the requests; a trace is a file's name.
        pool: With the contender's policy and binding.
        seed: Of the requests.
        load: Share of what the capacity cell finds, if there is one.
        capacity: Key of that cell; empty if there is none.
        rps: Arrivals a second, if there is no load; None if all requests are there at once.
        warm_up: Share of the requests that is not measured.
        events: What happens to instances.
    """

    scenario: str
    contender: str
    measure: Measure
    source: Source
    pool: PoolSettings
    seed: int
    load: float | None = None
    capacity: str = ""
    rps: float | None = None
    warm_up: float = WARM_UP
    events: tuple[Event, ...] = ()

    @property
    def key(self) -> str:
        """The same in every process. Cost: tens of microseconds."""
        return xxh3_64_hexdigest(msgspec.json.encode(self, order="deterministic"))


class Plan(msgspec.Struct, frozen=True):
    """The cells of an experiment; those of `capacities` come first."""

    capacities: dict[str, Cell]
    cells: dict[str, Cell]


def plan(experiment: Experiment) -> Plan:
    """All cells by key, in the order of pages, but near those that read the same requests."""
    capacities: dict[str, Cell] = {}
    cells: dict[str, Cell] = {}
    for scenario, seed in product(experiment.scenarios, range(1, experiment.seeds + 1)):
        capacity = _capacity(scenario, seed)
        key = capacity.key if scenario.loads else ""
        if scenario.loads:
            capacities[key] = capacity
        cells |= {cell.key: cell for cell in _cells(scenario, seed, key)}
    return Plan(capacities, cells)


def _capacity(scenario: Scenario, seed: int) -> Cell:
    """Of each source, found with the first seed that it serves."""
    turn = (seed - 1) % len(scenario.sources)
    return Cell(
        scenario=scenario.name, contender=scenario.yardstick, measure="capacity",
        source=scenario.sources[turn], pool=replace(scenario.pool, policy=scenario.yardstick),
        seed=turn + 1,
    )  # fmt: skip


def _cells(scenario: Scenario, seed: int, capacity: str) -> Iterator[Cell]:
    source = scenario.sources[(seed - 1) % len(scenario.sources)]
    for load, contender in product(scenario.loads or (None,), scenario.contenders):
        yield Cell(
            scenario=scenario.name, contender=contender.name, measure=contender.measure,
            source=replace(source, **contender.source), pool=_pool(scenario.pool, contender),
            seed=seed, load=load, capacity=capacity, rps=scenario.rps, events=scenario.events,
            warm_up=0.0 if load is None and scenario.rps is None else WARM_UP,
        )  # fmt: skip


def _pool(pool: PoolSettings, contender: Contender) -> PoolSettings:
    engine = replace(pool.engine, **contender.engine)
    fields = {"policy": contender.policy, "binding": contender.binding} | contender.pool
    return replace(pool, engine=engine, **fields)
