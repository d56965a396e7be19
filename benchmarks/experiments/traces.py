"""Every policy on every trace."""

from typing import Final

from benchmarks.experiments.common import (
    A6000,
    AZURE,
    BOUNDS,
    H100,
    HITS,
    IMBALANCE,
    INSTANCES,
    LEVAL,
    MEAN,
    MOONCAKE,
    P99,
    SESSIONS,
    WINDOWS,
    pool,
)
from benchmarks.experiments.contenders import EVERYONE, OUR_NAMES, PEER_NAMES
from benchmarks.spec import Comparison, Experiment, Scenario

_LOADS: Final = (0.8, 0.95, 1.1, 1.7)

TRACES: Final = Experiment(
    name="traces",
    title="Every policy on real traces",
    about="""\
Mooncake: ten windows of 2,500 requests, spread over the hour; neighbours share more than half of
their requests, so an interval speaks of this hour. L-Eval: all 2,074 requests, arrivals drawn.
Coding sessions: 1,000 requests, starts of sessions drawn. Azure: ten windows of 1,500, with real
arrivals and lengths; nothing is shared, so there is nothing for a cache to win. A load of 100 % is
what `least_outstanding` sustains, found for each window.""",
    scenarios=tuple(
        Scenario(
            name=name,
            sources=sources,
            pool=pool(INSTANCES, engine),
            contenders=EVERYONE,
            loads=_LOADS,
        )
        for name, sources, engine in (
            ("mooncake_conversation", MOONCAKE, A6000),
            ("leval_docqa", LEVAL, A6000),
            ("claude_code_sessions", SESSIONS, H100),
            ("azure_conversation", AZURE, A6000),
        )
    ),
    seeds=WINDOWS,
    columns=(MEAN, P99, HITS, IMBALANCE),
    bounds=BOUNDS,
    comparison=Comparison(
        ours=OUR_NAMES,
        others=PEER_NAMES,
        values=(MEAN, P99),
        note="""\
Change against the best peer: the one of least mean over the seeds, found apart for mean and p99. In
brackets the 95 % interval of a paired bootstrap over seeds or windows. **Bold**: a loss beyond
doubt. `e2` is no peer: it is ours, too.""",
    ),
    chart=(MEAN, P99),
)
