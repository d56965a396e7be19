"""What an experiment is: data only. Those there are stand in `experiments`."""

from typing import Literal

import msgspec

from preble.config import Binding, PolicyName
from preble.simulator.outcome import PoolSettings
from preble.simulator.source import Source

Measure = Literal["capacity", "replay", "burst"]
"""What is done in a cell; `measure` does it."""


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """One of what is compared.

    Args:
        name: In tables, in figures and behind `--only`.
        policy: That picks instances: a `PolicyName`, or an import path such as `variants` has.
        binding: When it is asked.
        measure: What is done with it.
        pool: Other values of fields of `PoolSettings`.
        engine: Likewise, of `EngineSettings`.
        source: Likewise, of `Source`.
    """

    name: str
    policy: str
    binding: Binding = "eager"
    measure: Measure = "replay"
    pool: dict[str, object] = {}
    engine: dict[str, object] = {}
    source: dict[str, object] = {}


class Event(msgspec.Struct, frozen=True):
    """A change of an instance, at a share of the time in which requests arrive."""

    share: float
    instance: int
    kind: Literal["slow", "join", "die"]
    factor: float = 1.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A workload on a pool, with all that is compared on it.

    Args:
        name: In tables and behind `--only`.
        sources: Of the requests: one for all seeds, or one for each, in turn. A trace is the
            name of a file that `trace_files` finds.
        pool: Its policy and binding are those of each contender.
        contenders: What is compared.
        loads: Shares of the rate that the yardstick sustains.
        rps: Arrivals a second where that rate says nothing; with neither, all requests are there
            at once.
        yardstick: The policy whose capacity is a load of 1.
        events: What happens to instances.
    """

    name: str
    sources: tuple[Source, ...]
    pool: PoolSettings
    contenders: tuple[Contender, ...]
    loads: tuple[float, ...] = ()
    rps: float | None = None
    yardstick: PolicyName = "least_outstanding"
    events: tuple[Event, ...] = ()


class Column(msgspec.Struct, frozen=True):
    """A figure in a table: its head, its name among a row's values, and how it is written."""

    head: str
    value: str
    form: str = ".2f"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Ours against others, with intervals.

    Args:
        ours: Names of contenders.
        others: Names of those they are compared with: in each cell the best of them.
        values: What is compared; less is better.
        is_gain: Write how many times better (2.1 times), not by how much less (-52 %).
        note: What to compare the comparison with.
    """

    ours: tuple[str, ...]
    others: tuple[str, ...]
    values: tuple[Column, ...]
    is_gain: bool = False
    note: str = ""


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """Scenarios that are shown on one page.

    Args:
        name: On the command line, and of its files.
        title: Of its page.
        about: What it shows, and what to know before reading it.
        scenarios: All that is simulated.
        seeds: How many, from 1 on.
        columns: What its tables show: joined in one field where there are several loads, else
            in columns of their own.
        bounds: Below the tables: what no placement can beat; equal for all contenders.
        comparison: At the top of the page.
        chart: What its figure shows.
    """

    name: str
    title: str
    about: str
    scenarios: tuple[Scenario, ...]
    seeds: int
    columns: tuple[Column, ...]
    bounds: tuple[Column, ...] = ()
    comparison: Comparison | None = None
    chart: tuple[Column, ...]
