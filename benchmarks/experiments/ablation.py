"""What each mechanism of the policy brings."""

from typing import Final

from msgspec.structs import replace

from benchmarks import variants
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
from benchmarks.experiments.contenders import EAGER, LATE, variant
from benchmarks.spec import Comparison, Experiment, Scenario

_OTHERS: Final = (
    variant(LATE, "no backlog", variants.no_backlog),
    variant(LATE, "no decode", variants.no_decode),
    variant(LATE, "no jobs beside", variants.no_jobs_beside),
    variant(LATE, "nobody to come", variants.nobody_to_come),
    variant(LATE, "any length", variants.any_length),
    variant(LATE, "no drag", variants.no_drag),
    variant(LATE, "no share", variants.no_share),
    variant(LATE, "no recompute", variants.no_recompute),
    variant(LATE, "no KV memory", variants.no_kv_memory),
    EAGER,
    replace(LATE, name="credit 0.25 s", pool={"credit_s": 0.25}),
    replace(LATE, name="credit 1 s", pool={"credit_s": 1.0}),
    replace(LATE, name="credit 2 s", pool={"credit_s": 2.0}),
    replace(LATE, name="window 16", pool={"window_jobs": 16}),
    replace(LATE, name="window 256", pool={"window_jobs": 256}),
)
"""The default without a term, without a plan (`preble eager`), or with another number."""

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
