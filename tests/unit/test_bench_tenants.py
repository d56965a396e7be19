"""What `preble bench tenants` reads out of jobs; the stack it runs on has other tests."""

import pytest

from preble.bench.tenants import (
    Plan,
    Shares,
    TenantsFailed,
    fair_share,
    longest_step_s,
    waits_of,
)
from preble.client import Failure, Job, Result, Usage
from preble.config import Settings
from preble.cost_model import load_cost_model
from preble.messages import JobState

MODEL = load_cost_model("mistral_7b_a6000")
PLAN = Plan(interactive_tokens=90, interactive_output_tokens=10, flood_tokens=40)


def job(claimed_s: float, ttft_s: float) -> Job:
    """Submitted at 100; handed to its engine 0.5 s after it was claimed; decoded for 1 s."""
    began_s = 100 + claimed_s + 0.5
    result = Result("", "length", Usage(512, 32, 0), ttft_s=ttft_s, engine_s=ttft_s + 1)
    return Job(
        "j", JobState.COMPLETED, created_at=100.0, started_at=100 + claimed_s,
        ended_at=began_s + ttft_s + 1, prompt_tokens=512, result=result,
    )  # fmt: skip


def test_waits_end_when_a_worker_claims_and_when_the_prefill_begins() -> None:
    prefill_s = MODEL.prefill_s(512, 512)
    waits = waits_of([job(0.2, 0.3), job(0.2, 0.3)], MODEL, 1.0)
    assert waits.requests == 2
    assert waits.claimed_p99_s == pytest.approx(0.2)
    assert waits.first_token_p99_s == pytest.approx(1.0)
    assert waits.begun_p50_s == pytest.approx(1.0 - prefill_s, abs=1e-3)
    faster = waits_of([job(0.2, 0.3)], MODEL, 2.0)
    assert faster.begun_p50_s == pytest.approx(1.0 - prefill_s / 2, abs=1e-3)


def test_a_failed_job_is_no_figure() -> None:
    failed = Job("j7", JobState.FAILED, 0.0, error=Failure("engine_refused", "too long"))
    with pytest.raises(TenantsFailed, match="j7 did not complete: engine_refused: too long"):
        waits_of([failed], MODEL, 1.0)


def test_the_floods_share_is_of_tokens() -> None:
    flood_tokens = 20 * (40 + PLAN.flood_output_tokens)
    expected = flood_tokens / (flood_tokens + 10 * 100)
    assert Shares(PLAN, interactive_jobs=10, flood_jobs=20).flood == pytest.approx(expected)
    assert Shares(PLAN, 0, 0).flood == 0.0


def test_tenants_of_one_priority_share_alike_and_batch_gets_a_fifth() -> None:
    assert fair_share("normal") == 0.5
    assert fair_share("batch") == 0.2


def test_the_longest_step_is_longer_than_a_chunk_alone_and_shrinks_with_speed() -> None:
    settings = Settings(engine="emulated", chunk_tokens=2048)
    step_s = longest_step_s(MODEL, settings, PLAN)
    assert step_s > MODEL.prefill_s(2048, 2048)
    fast = Settings(engine="emulated", chunk_tokens=2048, emulated_speed=4.0)
    assert longest_step_s(MODEL, fast, PLAN) == pytest.approx(step_s / 4)
