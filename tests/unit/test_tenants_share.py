"""A tenant that floods, in the simulator: what another tenant waits, and what the flood still gets.

The bounds are those that the design promises; the engines, the scheduler and the plan are those of
production, on virtual time.
"""

from typing import Final

import pytest
from msgspec.structs import replace

from preble.config import Priority
from preble.cost_model import StepRequest, load_cost_model
from preble.quantiles import quantile
from preble.simulator.outcome import PoolSettings, Replayed
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import create_workload
from preble.simulator.workload.request import Workload

ENGINE: Final = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=198_516)
CREDIT_S: Final = 0.5
FLOOD_AT_S: Final = 5.0
FLOOD_JOBS: Final = 1_200
CHATS: Final = 150


def longest_step_s() -> float:
    """A chunk of prefill beside decodes in all other slots."""
    decodes = [StepRequest(1, 2_000)] * (ENGINE.slots - 1)
    chunk = StepRequest(ENGINE.chunk_tokens, ENGINE.chunk_tokens)
    return load_cost_model(ENGINE.cost_model).step_s([chunk, *decodes])


def flooded(priority: Priority, *, chats_per_s: float) -> Workload:
    """Tool prompts of tenant `flood`, all at one moment, amid prompts of tenant `chat`."""
    chats = create_workload(
        "shared_prefix", seed=1, num_requests=CHATS, rps=chats_per_s, block_size=64
    )
    flood = create_workload("toolbench", seed=2, num_requests=FLOOD_JOBS, rps=50.0, block_size=64)
    requests = [replace(one, tenant="chat") for one in chats.requests]
    requests += [
        replace(one, at_s=FLOOD_AT_S, tenant="flood", priority=priority) for one in flood.requests
    ]
    return Workload("flooded", 64, tuple(sorted(requests, key=lambda one: one.at_s)))


def run(workload: Workload) -> Replayed:
    pool = PoolSettings(
        policy="preble", engine=ENGINE, speeds=(1.0,) * 4, binding="late", credit_s=CREDIT_S
    )
    return replay(workload, pool)


@pytest.mark.parametrize("priority", ["normal", "batch"])
def test_a_tenant_within_its_share_waits_for_the_credit_and_a_step_at_most(
    priority: Priority,
) -> None:
    replayed = run(flooded(priority, chats_per_s=6.0))
    flood_ends_s = max(
        one.admitted_at_s for one in replayed.served if one.request.tenant == "flood"
    )
    waits_s = sorted(
        one.wait_s
        for one in replayed.served
        if one.request.tenant == "chat" and FLOOD_AT_S < one.request.at_s < flood_ends_s
    )
    assert len(waits_s) > 50
    assert quantile(waits_s, 0.99) <= CREDIT_S + longest_step_s()


@pytest.mark.parametrize(("priority", "share"), [("normal", 0.5), ("batch", 0.2)])
def test_the_flood_gets_its_share_while_both_wait(priority: Priority, share: float) -> None:
    """Two floods at one moment; counted is what begins until one of them has begun whole."""
    flood = create_workload("toolbench", seed=2, num_requests=600, rps=50.0, block_size=64)
    other = create_workload("toolbench", seed=3, num_requests=600, rps=50.0, block_size=64)
    requests = [
        *(replace(one, at_s=0.0, tenant="flood", priority=priority) for one in flood.requests),
        *(replace(one, at_s=0.0, tenant="other") for one in other.requests),
    ]
    replayed = run(Workload("two floods", 64, tuple(requests)))
    last_s = min(
        max(one.admitted_at_s for one in replayed.served if one.request.tenant == tenant)
        for tenant in ("flood", "other")
    )
    tokens = {"flood": 0, "other": 0}
    for one in replayed.served:
        if one.admitted_at_s < last_s:
            work = one.request.prompt_tokens + one.request.output_tokens - one.hit_tokens
            tokens[one.request.tenant] += work
    # Work is charged by what is predicted, and counted here by what was done.
    assert 0.85 * share <= tokens["flood"] / sum(tokens.values()) <= 1.4 * share
