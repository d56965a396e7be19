"""When something changes: what is asked for, or who is there to answer."""

from typing import Final

from benchmarks.experiments.common import (
    BOUNDS,
    BUSY_IMBALANCE,
    HITS,
    IMBALANCE,
    INSTANCES,
    MEAN,
    MOONCAKE,
    P99,
    generated,
    pool,
)
from benchmarks.experiments.contenders import STRONG, peers
from benchmarks.spec import Event, Experiment, Scenario

_LOAD: Final = 0.8
_HOT_INSTANCES: Final = 16


def _hot(workload: str, requests: int) -> Scenario:
    return Scenario(
        name=workload,
        sources=generated(workload, requests),
        pool=pool(_HOT_INSTANCES),
        contenders=(*peers("longest_prefix"), *STRONG),
        loads=(_LOAD,),
    )


def _changing(event: Event) -> Scenario:
    return Scenario(
        name=event.kind,
        sources=MOONCAKE[::4],
        pool=pool(INSTANCES),
        contenders=STRONG,
        loads=(_LOAD,),
        events=(event,),
    )


CHANGES: Final = Experiment(
    name="changes",
    title="When something changes",
    about="""\
A prefix in 90 % of the requests, and one that is another each minute (16 instances). On Mooncake's
windows (8 instances), from 40 % of the time on: an instance that takes twice as long (`slow`), one
that is new (`join`), one that is dead (`die`), which is noticed after 10 s. A load of 100 % is what
all instances sustain unharmed.""",
    scenarios=(
        _hot("hot_prefix", 6_000),
        _hot("moving_prefix", 20_000),
        _changing(Event(0.4, 0, "slow", 2.0)),
        _changing(Event(0.4, 0, "join")),
        _changing(Event(0.4, 0, "die")),
    ),
    seeds=3,
    columns=(MEAN, P99, HITS, IMBALANCE, BUSY_IMBALANCE),
    bounds=BOUNDS,
    chart=(MEAN, BUSY_IMBALANCE),
)
