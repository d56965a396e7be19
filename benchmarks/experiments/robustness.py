"""When the world is not as the scheduler models it."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from benchmarks.experiments.common import (
    A6000,
    HITS,
    IMBALANCE,
    INSTANCES,
    LEVAL,
    MEAN,
    MOONCAKE,
    P99,
    pool,
)
from benchmarks.experiments.contenders import EAGER, LATE, OUR_NAMES, peers
from benchmarks.spec import Comparison, Experiment, Scenario
from preble.simulator.outcome import PoolSettings
from preble.simulator.source import Source

_PEERS: Final = peers("least_outstanding", "sglang_cache_aware", "smg", "lmetric")
_AS_MODELLED: Final = pool(INSTANCES)
_WORLDS: Final = {
    "as modelled": _AS_MODELLED,
    "events 0.1 s late": replace(_AS_MODELLED, event_delay_s=0.1),
    "events 1 s late": replace(_AS_MODELLED, event_delay_s=1.0),
    "prefill first": pool(INSTANCES, replace(A6000, steps="prefill_first")),
    "retraction": pool(INSTANCES, replace(A6000, output_reserve=0.3)),
    "two of half speed": replace(_AS_MODELLED, speeds=(0.5, 0.5) + (1.0,) * (INSTANCES - 2)),
    "slow prefill": replace(
        pool(INSTANCES, replace(A6000, cost_model="mistral_7b_a6000_slow_prefill.json")),
        believed_cost_model=A6000.cost_model,
    ),
    "another GPU": replace(_AS_MODELLED, believed_cost_model="mistral_7b_a100"),
}
_LITTLE_MEMORY: Final = {"leval_docqa": 99_258, "mooncake_conversation": 132_344}
"""Half of an A6000's KV tokens; two thirds where a request would not fit into half."""


def _scenarios(name: str, sources: tuple[Source, ...]) -> Iterator[Scenario]:
    little = replace(A6000, kv_capacity_tokens=_LITTLE_MEMORY[name])
    worlds: dict[str, PoolSettings] = _WORLDS | {"little memory": pool(INSTANCES, little)}
    for world, settings in worlds.items():
        yield Scenario(
            name=f"{name}: {world}",
            sources=sources,
            pool=settings,
            contenders=(*_PEERS, EAGER, LATE),
            loads=(0.95,),
        )


ROBUSTNESS: Final = Experiment(
    name="robustness",
    title="When the world is not as modelled",
    about="""\
The scheduler hears of an engine's steps later than after 5 ms; engines compute prefills alone and
before all decodes; they reserve memory for 30 % of outputs and *retract* requests when it runs out;
two of eight run at half the speed that their cost model says; all take 1.5 times as long for
prefills as the scheduler believes, or it believes that each A6000 is an A100; KV caches hold half
(L-Eval) or two thirds (Mooncake). A load of 100 % is what `least_outstanding` sustains in that
world.""",
    scenarios=(
        *_scenarios("leval_docqa", LEVAL),
        *_scenarios("mooncake_conversation", MOONCAKE[::4]),
    ),
    seeds=3,
    columns=(MEAN, P99, HITS, IMBALANCE),
    comparison=Comparison(
        ours=OUR_NAMES,
        others=tuple(peer.name for peer in _PEERS),
        values=(MEAN, P99),
        note="""\
Change against the best peer: the one of least mean over the seeds, found apart for mean and p99. In
brackets what a paired bootstrap gives for three seeds: a range rather than an interval. **Bold**: a
loss with each seed.""",
    ),
    chart=(MEAN,),
)
