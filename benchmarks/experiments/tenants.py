"""A tenant that chats beside one that floods."""

from typing import Final

from benchmarks.experiments.common import HITS, INSTANCES, MAKESPAN, generated, pool
from benchmarks.experiments.contenders import STRONG
from benchmarks.spec import Column, Experiment, Scenario

_RPS: Final = 50.0
"""Ten chats a second and the batch: the chats alone are half of what eight A6000 serve."""
_WAIT_P99: Final = Column("chat wait p99 s", "interactive_wait_p99_s")

TENANTS: Final = Experiment(
    name="tenants",
    title="A tenant that chats beside one that floods",
    about="""\
Chats, and amid them four times as many questions about documents at one moment: in `tenants` with
priority `batch`, in `tenants_same_class` with the same priority. *Wait* is until the engine begins.
Routers that bind at once have no queue in which one tenant could go before another.""",
    scenarios=tuple(
        Scenario(
            name=name,
            sources=generated(name, 3_000),
            pool=pool(INSTANCES),
            contenders=STRONG,
            rps=_RPS,
        )
        for name in ("tenants", "tenants_same_class")
    ),
    seeds=3,
    columns=(
        Column("chat wait mean s", "interactive_wait_s"),
        _WAIT_P99,
        Column("chat mean s", "interactive_mean_s"),
        Column("chat p99 s", "interactive_p99_s"),
        Column("batch mean s", "batch_mean_s", ".1f"),
        Column("batch's share while both wait", "batch_share", ".1%"),
        MAKESPAN,
        HITS,
    ),
    chart=(_WAIT_P99, MAKESPAN),
)
