"""A trace for the dispatcher: prompts that share what the trace's prompts share."""

import pytest

from preble.bench.replay import compare, prompt_ids, run, simulated
from preble.client import Job
from preble.client.replies import Result, Usage
from preble.config import Settings
from preble.errors import ConfigError
from preble.messages import JobState, pack_keys
from preble.simulator.workload import TimedRequest, Workload

SETTINGS = Settings(engine="emulated", workers=2, cost_model="mistral_7b_a6000")


def request(at_s: float, *keys: int, rest: int = 10) -> TimedRequest:
    return TimedRequest(at_s, 64 * len(keys) + rest, 4, pack_keys(keys))


def test_prompts_share_the_blocks_that_the_trace_shares_and_nothing_else() -> None:
    first = prompt_ids(request(0, 1, 2), 0, 64)
    second = prompt_ids(request(1, 1, 3), 1, 64)
    assert len(first) == 138
    assert first[:64] == second[:64]
    assert first[64:128] != second[64:128]
    assert first[128:] != second[128:]
    assert first == prompt_ids(request(0, 1, 2), 0, 64)


def test_a_workload_of_other_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="blocks of 16 tokens, the pool of 64"):
        run(SETTINGS, Workload("small", 16, (request(0, 1),)), print)


def test_both_sides_are_compared_request_by_request() -> None:
    """The real ones take twice as long, and the second ran elsewhere."""
    workload = Workload("small", 64, (request(0, 1), request(9, 1)))
    served = simulated(SETTINGS, workload, "mixed")
    names = ["gpu0", "gpu1"]
    jobs = [
        job(2 * each.latency_s, each.hit_tokens, names[each.instance if number == 0 else 1])
        for number, each in enumerate(served)
    ]
    figures = compare(SETTINGS, "mixed", served, jobs)
    assert figures.mean_ratio == pytest.approx(0.5, abs=0.01)
    assert figures.p99_ratio == pytest.approx(0.5, abs=0.01)
    assert figures.same_instance == 0.5
    assert figures.real.hit_rate == figures.simulated.hit_rate == round(64 / 148, 4)


def job(latency_s: float, hit_tokens: int, instance: str) -> Job:
    result = Result("", "length", Usage(74, 4, hit_tokens), ttft_s=0.1, engine_s=0.2)
    return Job(
        "job", JobState.COMPLETED, created_at=100.0, ended_at=100.0 + latency_s,
        prompt_tokens=74, instance=instance, result=result,
    )  # fmt: skip
