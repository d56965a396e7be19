"""What the Preble paper measured."""

from typing import Final

from msgspec.structs import replace

from benchmarks import variants
from benchmarks.experiments.common import BOUNDS, HITS, MEAN, P99, generated, pool
from benchmarks.experiments.contenders import E2, EAGER, LATE, OUR_NAMES, peers, variant
from benchmarks.spec import Comparison, Experiment, Scenario

_LOADS: Final = (0.3, 0.7, 0.85, 0.95, 1.1, 1.3)
_REQUESTS: Final = {
    "toolbench": 1_000,
    "embodied": 2_000,
    "programming": 350,
    "video": 400,
    "loogle": 150,
}
"""For each GPU: minutes of arrivals at its capacity, and each prefix often enough."""
_ROUND_ROBIN: Final = peers("round_robin")
_WHOLE_E2: Final = replace(E2, engine={"wait_order": "priority_groups"})
"""With the paper's local scheduler."""


def _against_round_robin(workload: str, gpus: int, requests: int) -> Scenario:
    return Scenario(
        name=f"{workload} {gpus} GPUs",
        sources=generated(workload, requests),
        pool=pool(gpus),
        contenders=(*_ROUND_ROBIN, _WHOLE_E2, EAGER, LATE),
        loads=_LOADS,
        yardstick="round_robin",
    )


PAPER: Final = Experiment(
    name="paper",
    title="The paper's workloads, against round robin",
    about="""\
Mistral-7B on 2 and 4 A6000, five workloads drawn to the paper's Table 1, and its mix of tools and
videos in bursts fitted to Azure's arrivals. A load of 100 % is what **round robin** sustains. `e2`
is the whole paper, with its wait queue (`priority_groups`); the others run `fcfs`.""",
    scenarios=(
        *(
            _against_round_robin(workload, gpus, gpus * requests)
            for workload, requests in _REQUESTS.items()
            for gpus in (2, 4)
        ),
        _against_round_robin("mixed", 4, 2_500),
    ),
    seeds=10,
    columns=(MEAN, P99, HITS),
    bounds=BOUNDS,
    comparison=Comparison(
        ours=("e2", *OUR_NAMES),
        others=("round_robin",),
        values=(MEAN, P99),
        is_gain=True,
        note="""\
How many times lower than round robin's, with 95 % intervals of a paired bootstrap. The paper has
1.5 to 14.5 times lower means and 2 to 10 times lower p99, on hardware and at rates of its own; for
the mix 6.0 and 4.6 times. Past round robin's capacity its queue grows without end: any ratio can be
had there.""",
    ),
    chart=(MEAN, P99),
)

LADDER: Final = Experiment(
    name="ladder",
    title="The paper's Figure 5: what each part of E2 brings",
    about="""\
ToolBench with Zipf-1.1 popularity on 4 A6000; each line has the parts of those above it. A load of
100 % is what round robin sustains. `preble` is not part of it.""",
    scenarios=(
        Scenario(
            name="toolbench_zipf 4 GPUs",
            sources=generated("toolbench_zipf", 4_000),
            pool=pool(4),
            contenders=(
                *_ROUND_ROBIN,
                variant(E2, "+ E2 placement", variants.e2_placement),
                variant(E2, "+ readjustment", variants.e2_readjustment),
                replace(E2, name="+ prefill/decode balance"),
                replace(_WHOLE_E2, name="+ priority wait queue"),
                LATE,
            ),
            loads=(0.7, 0.95, 1.3),
            yardstick="round_robin",
        ),
    ),
    seeds=5,
    columns=(MEAN, P99, HITS),
    bounds=BOUNDS,
    chart=(MEAN, P99),
)
