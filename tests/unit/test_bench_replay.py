"""A trace through both, side by side; the stack that one side runs on has other tests."""

from typing import Literal

import pytest
from msgspec.structs import replace

from preble.bench.replay import compare, pool_of, run, simulated
from preble.client import Job
from preble.client.replies import Result, Usage
from preble.config import PolicyName, Settings
from preble.errors import ConfigError
from preble.messages import JobState, pack_keys
from preble.simulator.workload import TimedRequest, Workload

SETTINGS = Settings(engine="emulated", workers=2, cost_model="mistral_7b_a6000")


def request(at_s: float, *keys: int, rest: int = 10) -> TimedRequest:
    return TimedRequest(at_s, 64 * len(keys) + rest, 4, pack_keys(keys))


def test_a_workload_of_other_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="blocks of 16 tokens, the pool of 64"):
        run(SETTINGS, Workload("small", 16, (request(0, 1),)), ["e2"], print)


def test_both_sides_are_compared_request_by_request() -> None:
    """The real ones take twice as long, and the second ran elsewhere."""
    workload = Workload("small", 64, (request(0, 1), request(9, 1)))
    served = simulated(SETTINGS, workload, "mixed")
    names = ["gpu0", "gpu1"]
    jobs = [
        job(2 * each.latency_s, each.hit_tokens, names[each.instance if number == 0 else 1])
        for number, each in enumerate(served)
    ]
    figures = compare(SETTINGS, served, jobs)
    assert figures.mean_ratio == pytest.approx(0.5, abs=0.01)
    assert figures.p99_ratio == pytest.approx(0.5, abs=0.01)
    assert figures.same_instance == 0.5
    assert figures.real.hit_rate == figures.simulated.hit_rate == round(64 / 148, 4)


@pytest.mark.parametrize(
    ("policy", "binding", "expected"),
    [("preble", "auto", "late"), ("e2", "auto", "eager"), ("e2", "late", "late")],
)
def test_both_sides_bind_alike(
    policy: PolicyName, binding: Literal["auto", "late"], expected: str
) -> None:
    settings = replace(
        SETTINGS, policy=policy, binding=binding, credit_s=0.25, window_jobs=7, emulated_speed=3.0
    )
    pool = pool_of(settings, "mixed")
    assert (pool.policy, pool.binding) == (policy, expected)
    assert (pool.credit_s, pool.window_jobs, pool.batch_window_jobs) == (0.25, 7, 256)
    assert pool.speeds == (3.0, 3.0)


def job(latency_s: float, hit_tokens: int, instance: str) -> Job:
    result = Result("", "length", Usage(74, 4, hit_tokens), ttft_s=0.1, engine_s=0.2)
    return Job(
        "job", JobState.COMPLETED, created_at=100.0, ended_at=100.0 + latency_s,
        prompt_tokens=74, instance=instance, result=result,
    )  # fmt: skip
