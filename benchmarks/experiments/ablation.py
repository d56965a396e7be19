"""What each mechanism of the policy brings."""

from typing import Final

from msgspec.structs import replace

from benchmarks.experiments.common import (
    HITS,
    IMBALANCE,
    INSTANCES,
    LEVAL,
    MEAN,
    MOONCAKE,
    P99,
    pool,
)
from benchmarks.experiments.contenders import EAGER, LATE
from benchmarks.spec import Comparison, Experiment, Scenario

_OTHERS: Final = (
    EAGER,
    replace(LATE, name="credit 0.25 s", pool={"credit_s": 0.25}),
    replace(LATE, name="credit 1 s", pool={"credit_s": 1.0}),
    replace(LATE, name="window 16", pool={"window_jobs": 16}),
    replace(LATE, name="window 256", pool={"window_jobs": 256}),
    replace(LATE, name="events 1 s late", pool={"event_delay_s": 1.0}),
)
"""The default without a mechanism, or with another number: `pool` takes any of its settings."""

ABLATION: Final = Experiment(
    name="ablation",
    title="What each mechanism of `preble` brings",
    about="The default, and what becomes of it when one thing is different.",
    scenarios=tuple(
        Scenario(
            name=name,
            sources=sources,
            pool=pool(INSTANCES),
            contenders=(LATE, *_OTHERS),
            loads=(0.95, 1.3),
        )
        for name, sources in (("mooncake_conversation", MOONCAKE[::2]), ("leval_docqa", LEVAL))
    ),
    seeds=5,
    columns=(MEAN, P99, HITS, IMBALANCE),
    comparison=Comparison(
        ours=tuple(other.name for other in _OTHERS),
        others=(LATE.name,),
        values=(MEAN,),
        note="Change of the mean against the default, with 95 % intervals. **Bold**: worse.",
    ),
    chart=(MEAN, P99),
)
