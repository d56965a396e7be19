"""Offline batches: how soon all of it is done."""

from typing import Final

from msgspec.structs import replace

from benchmarks.experiments.common import (
    BUSY_IMBALANCE,
    HITS,
    INSTANCES,
    LEVAL,
    MAKESPAN,
    generated,
    pool,
)
from benchmarks.experiments.contenders import EAGER, LATE, peers
from benchmarks.spec import Column, Comparison, Experiment, Scenario

_RANDOM: Final[dict[str, object]] = {"offline": "random"}
_SORTED: Final[dict[str, object]] = {"offline": "sorted"}
_PEERS: Final = peers("least_outstanding", "sglang_cache_aware", "smg", "lmetric")

BATCH: Final = Experiment(
    name="batch",
    title="Offline batches: the makespan",
    about="""\
All requests at once: in random order, or sorted by prefix as the api sorts a batch that is
submitted. *Sorted and partitioned* is no scheduler: the sorted list is cut into parts of equal
work, one for each instance.""",
    scenarios=tuple(
        Scenario(
            name=name,
            sources=sources,
            pool=pool(INSTANCES),
            contenders=(
                *(replace(peer, source=_RANDOM) for peer in _PEERS),
                replace(EAGER, name="preble eager random", source=_RANDOM),
                replace(LATE, name="preble random", source=_RANDOM),
                replace(LATE, name="preble sorted", source=_SORTED),
            ),
        )
        for name, sources in (
            ("leval_docqa", LEVAL),
            ("loogle", generated("loogle", 1_200)),
            ("toolbench", generated("toolbench", 1_500)),
        )
    ),
    seeds=10,
    columns=(
        MAKESPAN,
        Column("of sorted and partitioned", "of_reference"),
        HITS,
        BUSY_IMBALANCE,
    ),
    bounds=(Column("sorted and partitioned, s", "reference_s", ".1f"),),
    comparison=Comparison(
        ours=("preble sorted", "preble random"),
        others=("least_outstanding",),
        values=(MAKESPAN,),
        is_gain=True,
        note="How many times shorter than `least_outstanding`'s, with 95 % intervals.",
    ),
    chart=(MAKESPAN, HITS),
)
