"""Every policy on every generated workload."""

from typing import Final

from benchmarks.experiments.common import (
    BOUNDS,
    HITS,
    IMBALANCE,
    INSTANCES,
    MEAN,
    P99,
    generated,
    pool,
)
from benchmarks.experiments.contenders import EVERYONE, OUR_NAMES, PEER_NAMES
from benchmarks.spec import Comparison, Experiment, Scenario

_REQUESTS: Final = {
    "toolbench": 3_000,
    "embodied": 4_000,
    "programming": 1_500,
    "video": 1_000,
    "loogle": 600,
    "mixed": 2_000,
    "shared_prefix": 2_000,
}

WORKLOADS: Final = Experiment(
    name="workloads",
    title="Every policy on generated workloads",
    about="""\
The paper's workloads, its mix, and prefixes of one length, each drawn anew with each seed. A load
of 100 % is what `least_outstanding` sustains.""",
    scenarios=tuple(
        Scenario(
            name=name,
            sources=generated(name, requests),
            pool=pool(INSTANCES),
            contenders=EVERYONE,
            loads=(0.8, 1.1),
        )
        for name, requests in _REQUESTS.items()
    ),
    seeds=3,
    columns=(MEAN, P99, HITS, IMBALANCE),
    bounds=BOUNDS,
    comparison=Comparison(
        ours=OUR_NAMES,
        others=PEER_NAMES,
        values=(MEAN, P99),
        note="""\
Change against the best peer: the one of least mean over the seeds, found apart for mean and p99. In
brackets what a paired bootstrap gives for three seeds: a range rather than an interval. **Bold**: a
loss with each seed.""",
    ),
    chart=(MEAN, P99),
)
