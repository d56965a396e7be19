"""Bounds by hand; tests/property tries to beat them."""

import pytest

from preble.cost_model import load_cost_model
from preble.messages import pack_keys
from preble.simulator.bounds import Bounds, bounds
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest, Workload

BLOCK = 100
A6000 = "mistral_7b_a6000"


def limits(*requests: TimedRequest, speeds: tuple[float, ...] = (1.0,), skip: int = 0) -> Bounds:
    engine = EngineSettings(cost_model=A6000, kv_capacity_tokens=100_000)
    pool = PoolSettings(policy="e2", engine=engine, speeds=speeds)
    return bounds(Workload("few", BLOCK, requests), pool, skip=skip)


def request(at_s: float, *keys: int, more_tokens: int = 1, output_tokens: int = 1) -> TimedRequest:
    return TimedRequest(at_s, len(keys) * BLOCK + more_tokens, output_tokens, pack_keys(keys))


def test_a_block_is_computed_once() -> None:
    """Two prompts of 201 tokens share 100 of them."""
    assert limits(request(0, 1, 2), request(1, 1, 3)).hit_rate == pytest.approx(100 / 402)


def test_blocks_of_the_warm_up_are_there() -> None:
    assert limits(request(0, 1, 2), request(1, 1, 2), skip=1).hit_rate == pytest.approx(200 / 201)


def test_the_last_token_is_always_computed() -> None:
    twice = [request(at_s, 1, 2, more_tokens=0) for at_s in (0, 1)]
    assert limits(*twice).hit_rate == pytest.approx(100 / 400)


def test_of_two_who_ask_for_a_block_the_one_that_cannot_hit_it_may_compute_it() -> None:
    """Block 1 ends the first prompt: it computes that anyway, and the second hits it."""
    ends_with_it, goes_on = request(0, 1, more_tokens=0), request(0, 1)
    for both in ((ends_with_it, goes_on), (goes_on, ends_with_it)):
        assert limits(*both).hit_rate == pytest.approx(100 / 201)


def test_unloaded_is_a_prefill_and_a_step_for_each_further_token() -> None:
    model = load_cost_model(A6000)
    one = request(0, *range(20), output_tokens=11)
    bound_s = limits(one).unloaded_latency_s
    # Linear layers take least for a token in the largest step, which has 2048 + 64.
    prefill_s = 2001 * (0.10842571 + 4.209777054806409 / 2112) / 0.9 / 1000
    # Attention over 2002 tokens is halved at best, and then below that of short contexts.
    assert bound_s == pytest.approx(prefill_s + 10 * (22 + 0.32) / 0.9 / 1000)
    assert bound_s < model.prefill_s(2001, 2001) + model.decode_s(10, 2002)


def test_the_fastest_instance_counts_for_one_request_and_all_for_the_pool() -> None:
    plain, fast = limits(request(0, 1)), limits(request(0, 1), speeds=(1.0, 4.0))
    assert fast.unloaded_latency_s == pytest.approx(plain.unloaded_latency_s / 4)
    assert fast.pooled_latency_s == pytest.approx(plain.pooled_latency_s / 5)


def test_the_pool_serves_shortest_remaining_work_first() -> None:
    """A long request and, while it runs, a short one, each of n steps of their own work."""
    long, short = request(0, more_tokens=8_000), request(0.001, more_tokens=1_000)
    long_s, short_s = limits(long).pooled_latency_s, limits(short).pooled_latency_s
    both = limits(long, short).pooled_latency_s
    assert both == pytest.approx((long_s + short_s + short_s) / 2)


def test_under_load_the_pool_is_the_greater_bound() -> None:
    many = limits(*(request(0, more_tokens=4_000 + n) for n in range(50)))
    assert many.mean_latency_s == many.pooled_latency_s > many.unloaded_latency_s


def test_without_requests_there_is_nothing_to_bound() -> None:
    assert limits().mean_latency_s == 0
