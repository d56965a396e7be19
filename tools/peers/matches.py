"""Routers over HTTP beside our copies of their formulas, on the same requests and engines."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Final

import msgspec

from preble.simulator.outcome import PoolSettings
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import Workload
from preble.simulator.workload.generators.shared_prefix import shared_prefix
from preble.simulator.workload.generators.toolbench import toolbench
from tools.peers.figures import Figures, Outcome, same_decisions
from tools.peers.fleet import fleet
from tools.peers.live import send
from tools.peers.routers import CONTROL, ROUTERS, Router, cpu_s, running

INSTANCES: Final = 4
REQUESTS: Final = 1500
ENGINE: Final = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=60_000)
"""Its KV cache holds a part of the prefixes only: what routers forget too late shows."""
RATES_RPS: Final = {"toolbench": 31.4, "hot_prefix": 41.2}
"""80 % of what least_outstanding sustains on four of these engines."""


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """One workload through a router, and through its copy in the simulator."""

    router: str
    workload: str
    rps: float
    seed: int
    real: Figures
    copy: Figures
    same_decisions: float | None
    """None if the copy changed since the real one ran: what that decided is not kept."""
    cores_used: float
    """By engines, client and router together: far below one, or time was not kept."""

    @property
    def case(self) -> tuple[str, str, int]:
        """What is compared in it."""
        return self.workload, self.router, self.seed


def workload_of(name: str, *, seed: int, num_requests: int = REQUESTS) -> Workload:
    """One of `RATES_RPS` by its name.

    `hot_prefix` is 40 prefixes of 2,048 tokens; 92 % of the requests have the first.
    """
    rps = RATES_RPS[name]
    if name == "hot_prefix":
        return shared_prefix(
            seed=seed, num_requests=num_requests, rps=rps, num_groups=40, zipf_a=4.0
        )
    return toolbench(seed=seed, num_requests=num_requests, rps=rps)


def cases(seeds: Sequence[int]) -> Iterator[tuple[Router, str, int]]:
    """What is compared: every router on every workload with every seed; the control once."""
    for name in RATES_RPS:
        yield CONTROL, name, seeds[0]
    for seed, name, router in product(seeds, RATES_RPS, ROUTERS):
        yield router, name, seed


async def match(python: Path, router: Router, name: str, seed: int) -> Match:
    """One router on one workload.

    Args:
        python: Of the virtual environment that has the router.
        router: Which.
        name: Of the workload.
        seed: Of its draws.

    Raises:
        RouterFailed: If it does not come up.
    """
    workload = workload_of(name, seed=seed)
    real, cores_used = await _live(python, router, workload)
    copy = simulated(workload, router.copy)
    return Match(
        router=router.name, workload=name, rps=RATES_RPS[name], seed=seed,
        real=Figures.of(real, INSTANCES), copy=Figures.of(copy, INSTANCES),
        same_decisions=same_decisions(real, copy, INSTANCES), cores_used=round(cores_used, 2),
    )  # fmt: skip


def with_new_copy(row: Match) -> Match:
    """The same run of the real router, beside the copy as it is today."""
    copies = {router.name: router.copy for router in (CONTROL, *ROUTERS)}
    workload = workload_of(row.workload, seed=row.seed)
    copy = Figures.of(simulated(workload, copies[row.router]), INSTANCES)
    same = row.same_decisions if copy == row.copy else None
    return msgspec.structs.replace(row, copy=copy, same_decisions=same)


def simulated(
    workload: Workload, policy: str, engine: EngineSettings = ENGINE
) -> Sequence[Outcome]:
    """The same requests through our scheduler, on such engines in virtual time."""
    speeds = (1.0,) * INSTANCES
    pool = PoolSettings(policy=policy, engine=engine, speeds=speeds, binding="eager")
    return [
        Outcome(each.instance, each.request.prompt_tokens, each.hit_tokens, each.latency_s)
        for each in replay(workload, pool).served
    ]


async def _live(
    python: Path, router: Router, workload: Workload
) -> tuple[Sequence[Outcome], float]:
    """What became of the requests, and how many cores that took."""
    page_size = workload.block_size
    before_s = cpu_s()
    async with (
        fleet(ENGINE, num=INSTANCES, page_size=page_size, tells_load=router.hears_load) as urls,
        running(router, python, urls) as url,
    ):
        began_s = perf_counter()
        outcomes = await send(url, workload)
        passed_s = perf_counter() - began_s
    return outcomes, (cpu_s() - before_s) / passed_s
