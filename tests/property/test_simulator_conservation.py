"""Whatever is replayed: nothing is lost, nothing counted twice, no bound is beaten."""

from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from preble.config import Binding, PolicyName, Priority, WaitOrder
from preble.errors import ConfigError
from preble.messages import pack_keys
from preble.simulator.bounds import bounds
from preble.simulator.changes import Change, first_instances
from preble.simulator.outcome import PoolSettings
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest, Workload

BLOCK = 4
EPSILON_S = 1e-9

engines = st.builds(
    EngineSettings,
    cost_model=st.just("mistral_7b_a6000"),
    kv_capacity_tokens=st.integers(44, 90),
    chunk_tokens=st.integers(1, 60),
    slots=st.integers(1, 5),
    steps=st.sampled_from(["mixed", "prefill_first"]),
    wait_order=st.sampled_from(get_args(WaitOrder)),
    output_reserve=st.sampled_from([0.0, 0.5, 1.0]),
)
pools = st.builds(
    PoolSettings,
    policy=st.sampled_from(get_args(PolicyName)),
    engine=engines,
    speeds=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=1, max_size=3).map(tuple),
    event_delay_s=st.sampled_from([0.0, 0.005, 3.0]),
    history_s=st.sampled_from([0.1, 180.0]),
)


def _makes_sense(changes: tuple[Change, ...]) -> bool:
    try:
        return bool(first_instances(changes, 3))
    except ConfigError:
        return False


changes = st.lists(
    st.sampled_from([
        Change(0.0, 1, "join"), Change(0.02, 0, "die"), Change(0.02, 0, "slow", 3.0),
        Change(0.3, 0, "join"), Change(0.3, 2, "die"), Change(1.0, 0, "die"),
        Change(2.0, 0, "join"), Change(2.0, 2, "join"),
    ]), unique=True,
).map(tuple).filter(_makes_sense)  # fmt: skip
late_or_changing_pools = st.builds(
    PoolSettings,
    policy=st.sampled_from(get_args(PolicyName)),
    engine=engines,
    speeds=st.just((1.0, 0.5, 2.0)),
    event_delay_s=st.sampled_from([0.0, 0.005, 3.0]),
    binding=st.sampled_from(get_args(Binding)),
    credit_s=st.sampled_from([0.001, 0.5]),
    window_jobs=st.sampled_from([1, 64]),
    changes=changes,
    detect_s=st.sampled_from([0.0, 0.1, 10.0]),
)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Prompts of a few blocks, many of which begin alike; some come at once."""
    at_s, requests = 0.0, list[TimedRequest]()
    for _ in range(draw(st.integers(0, 12))):
        at_s += draw(st.sampled_from([0.0, 0.0, 0.05, 1.0]))
        path = draw(st.lists(st.integers(0, 1), max_size=5))
        keys = [int("1" + "".join(map(str, path[:end])), 2) for end in range(1, len(path) + 1)]
        prompt_tokens = max(1, len(path) * BLOCK + draw(st.integers(0, BLOCK - 1)))
        output_tokens, tenant = draw(st.integers(1, 20)), draw(st.sampled_from(["", "a"]))
        priority = draw(st.sampled_from(get_args(Priority)))
        keys_of = pack_keys(keys)
        requests.append(
            TimedRequest(
                at_s, prompt_tokens, output_tokens, keys_of, tenant=tenant, priority=priority
            )
        )
    return Workload("drawn", BLOCK, tuple(requests))


@given(workloads(), pools | late_or_changing_pools)
@settings(max_examples=200, deadline=None)
def test_every_request_ends_once_with_all_its_tokens(
    workload: Workload, pool: PoolSettings
) -> None:
    """`replay` itself raises if requests or tokens are lost; here, what it answers."""
    replayed = replay(workload, pool)
    assert tuple(one.request for one in replayed.served) == workload.requests
    for one in replayed.served:
        assert one.request.at_s <= one.admitted_at_s < one.first_token_at_s <= one.ended_at_s
        assert 0 <= one.hit_tokens < one.request.prompt_tokens
        assert one.predicted_hit_tokens <= one.available_hit_tokens < one.request.prompt_tokens
    last_s = max((one.ended_at_s for one in replayed.served), default=0.0)
    assert all(totals.busy_s <= last_s + EPSILON_S for totals in replayed.instances)
    if pool.engine.output_reserve == 1:
        assert not any(totals.retractions for totals in replayed.instances)


@given(workloads(), pools, st.integers(0, 12))
@settings(max_examples=150, deadline=None)
def test_no_placement_beats_the_bounds(workload: Workload, pool: PoolSettings, skip: int) -> None:
    limits = bounds(workload, pool, skip=skip)
    served = replay(workload, pool).served[skip:]
    if not served:
        return
    prompt_tokens = sum(one.request.prompt_tokens for one in served)
    assert sum(one.hit_tokens for one in served) / prompt_tokens <= limits.hit_rate + EPSILON_S
    if pool.engine.wait_order == "fcfs" and pool.engine.output_reserve == 1:
        mean_s = sum(one.latency_s for one in served) / len(served)
        assert mean_s >= limits.mean_latency_s - EPSILON_S


@given(workloads(), pools | late_or_changing_pools)
@settings(max_examples=50, deadline=None)
def test_the_same_replay_gives_the_same_bytes(workload: Workload, pool: PoolSettings) -> None:
    first, second = (replay(workload, pool, timeline_s=0.5) for _ in range(2))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
