"""Overload, and what a burst leaves behind."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from benchmarks.experiments.common import INSTANCES, LEVAL, MEAN, MOONCAKE, P99, pool
from benchmarks.experiments.contenders import E2, EAGER, LATE, PEERS
from benchmarks.spec import Column, Experiment, Scenario

_LOADS: Final = (0.8, 1.1, 1.5, 2.0, 2.5)
_REQUESTS: Final = 1_000
_BASE: Final = 0.8
"""Before and after the burst."""
_BOTH_BINDINGS: Final = (
    *(
        replace(each, name=f"{each.name} {binding}", binding=binding)
        for each in (*PEERS, E2)
        for binding in ("eager", "late")
    ),
    EAGER,
    LATE,
)
_SERVED: Final = Column("served", "served_load", ".0%")


def _scenarios() -> Iterator[Scenario]:
    for name, source in (
        ("mooncake_conversation", replace(MOONCAKE[0], num_requests=1_200)),
        ("leval_docqa", LEVAL[0]),
    ):
        overload = Scenario(
            name=name,
            sources=(replace(source, num_requests=_REQUESTS),),
            pool=pool(INSTANCES),
            contenders=_BOTH_BINDINGS,
            loads=_LOADS,
        )
        bursts = tuple(replace(each, measure="burst") for each in _BOTH_BINDINGS)
        yield overload
        yield replace(
            overload, name=f"{name} burst", sources=(source,), contenders=bursts, loads=(_BASE,)
        )


STABILITY: Final = Experiment(
    name="stability",
    title="Overload, and what a burst leaves behind",
    about="""\
Loads up to 250 %; *served* is the rate at which requests end, as a share of capacity. Then a burst:
60 s at 200 % amid 80 %. *Drained/s* is by how many the requests in the system become fewer each
second from its end until they are as few as before; *fresh/s* the same for a pool that begins with
that backlog and empty caches. Below half of the fresh start's rate a policy is metastable; below 0
not even 80 % is sustained.""",
    scenarios=tuple(_scenarios()),
    seeds=1,
    columns=(
        MEAN,
        P99,
        _SERVED,
        Column("backlog", "backlog", ".0f"),
        Column("drained/s", "drained_per_s"),
        Column("fresh/s", "fresh_per_s"),
        Column("drained / fresh", "drain_share"),
    ),
    chart=(MEAN, _SERVED),
)
