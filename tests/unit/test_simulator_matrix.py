"""Sources, the rate a pool sustains, and many replays at once."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from preble.errors import ConfigError
from preble.simulator.capacity import sustained_rps
from preble.simulator.matrix import Plan, simulate
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source

ROW = '{"timestamp": %d, "input_length": 600, "output_length": 4, "hash_ids": [%d, %d]}\n'

ENGINE = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=20_000)
POOL = PoolSettings(policy="e2", engine=ENGINE, speeds=(1.0, 1.0))
PLAN = Plan(
    source=Source(workload="toolbench", num_requests=40), pool=POOL,
    policies=("round_robin", "e2"), rates_rps=(5.0, 10.0), seeds=(1, 2),
)  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """20 requests, one every 3 s."""
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(ROW % (3_000 * n, n, 100 + n) for n in range(20)))
    return str(file)


def told(ended: int, total: int) -> None:
    """Progress that nobody looks at."""


def test_a_trace_keeps_its_rate_unless_another_is_asked_for(trace: str) -> None:
    source = Source(trace=trace)
    assert source.load(seed=1, rps=None).rps == pytest.approx(1 / 3, rel=0.1)
    assert source.load(seed=1, rps=7.0).rps == pytest.approx(7.0)


def test_a_part_of_a_trace_begins_at_0(trace: str) -> None:
    whole = Source(trace=trace).load(seed=1, rps=None).requests
    part = Source(trace=trace, skip_requests=5, num_requests=10).load(seed=1, rps=None).requests
    assert [one.block_keys for one in part] == [one.block_keys for one in whole[5:15]]
    assert part[0].at_s == 0
    assert part[-1].at_s == pytest.approx(whole[14].at_s - whole[5].at_s)


def test_skipping_a_whole_trace_is_refused(trace: str) -> None:
    with pytest.raises(ConfigError, match="20 requests: all would be skipped"):
        Source(trace=trace, skip_requests=20).load(seed=1, rps=None)


def test_runs_are_ordered_by_load_policy_and_seed() -> None:
    report = simulate(PLAN, jobs=1, on_run=told)
    assert [(round(run.rps), run.policy, run.seed) for run in report.runs] == [
        (rps, policy, seed)
        for rps in (5, 10)
        for policy in ("round_robin", "e2")
        for seed in (1, 2)
    ]
    assert all(run.num_requests == 30 for run in report.runs)


def test_several_processes_give_the_same_report() -> None:
    progress: list[tuple[int, int]] = []
    apart = simulate(PLAN, jobs=2, on_run=lambda ended, total: progress.append((ended, total)))
    assert apart == simulate(PLAN, jobs=1, on_run=told)
    assert progress == [(ended, 8) for ended in range(9)]


def test_a_process_tells_what_is_wrong() -> None:
    plan = replace(PLAN, source=Source(workload="nothing"))
    with pytest.raises(ConfigError, match="nothing"):
        simulate(plan, jobs=2, on_run=told)


def test_a_load_is_a_share_of_what_least_outstanding_sustains() -> None:
    plan = replace(PLAN, rates_rps=(), loads=(0.5, 1.0), policies=("e2",), seeds=(1,))
    report = simulate(plan, jobs=1, on_run=told)
    sustained = sustained_rps(plan.source, POOL, seed=1, warm_up=plan.warm_up)
    assert report.sustained_rps == sustained
    assert [run.load for run in report.runs] == [0.5, 1.0]
    assert [run.rps for run in report.runs] == pytest.approx([sustained / 2, sustained])


def test_twice_the_instances_sustain_about_twice_the_rate() -> None:
    source = Source(workload="toolbench", num_requests=300)
    two = sustained_rps(source, POOL, seed=1, warm_up=0.25)
    four = sustained_rps(source, replace(POOL, speeds=(1.0,) * 4), seed=1, warm_up=0.25)
    assert 1.6 < four / two < 2.6
