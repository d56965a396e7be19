"""Sources, the rate a pool sustains, and many replays at once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from preble.errors import ConfigError
from preble.simulator.capacity import sustained_rps
from preble.simulator.changes import Change
from preble.simulator.matrix import Plan, simulate
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings
from preble.simulator.source import Burst, Source

ROW = '{"timestamp": %d, "input_length": 600, "output_length": 4, "hash_ids": [%d, %d]}\n'

ENGINE = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=20_000)
POOL = PoolSettings(policy="e2", engine=ENGINE, speeds=(1.0, 1.0))
JOINS = Change(1.0, 1, "join")
PLAN = Plan(
    source=Source(workload="toolbench", num_requests=40), pool=POOL,
    policies=("round_robin", "e2"), rates_rps=(5.0, 10.0), seeds=(1, 2),
)  # fmt: skip

ORPHANED = """
import multiprocessing, os, signal, time
from concurrent.futures import ProcessPoolExecutor
from preble.simulator.matrix import end_with_parent
context = multiprocessing.get_context("spawn")
executor = ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent)
executor.submit(os.getpid).result()
executor.submit(time.sleep, 600)
os.kill(os.getpid(), signal.SIGKILL)
"""


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


def test_bindings_are_compared_in_one_run() -> None:
    plan = replace(PLAN, bindings=("eager", "late"), policies=("e2",), rates_rps=(5.0,))
    runs = simulate(plan, jobs=1, on_run=told).runs
    assert [(run.binding, run.seed) for run in runs] == [
        ("eager", 1), ("eager", 2), ("late", 1), ("late", 2),
    ]  # fmt: skip
    assert [run.name for run in runs[1:3]] == ["e2", "e2, late"]


def test_the_binding_of_the_pool_counts_where_none_is_compared() -> None:
    plan = replace(PLAN, pool=replace(POOL, binding="late"), seeds=(1,), rates_rps=(5.0,))
    assert {run.binding for run in simulate(plan, jobs=1, on_run=told).runs} == {"late"}


def test_a_batch_has_no_warm_up_and_one_reference_whatever_its_order() -> None:
    pool = replace(POOL, engine=replace(ENGINE, kv_capacity_tokens=60_000))
    plan = replace(PLAN, pool=pool, policies=("e2",), rates_rps=(), seeds=(1,))
    source = Source(workload="video", num_requests=40)
    runs = [
        simulate(replace(plan, source=replace(source, offline=order)), jobs=1, on_run=told).runs[0]
        for order in ("random", "sorted")
    ]
    assert [run.num_requests for run in runs] == [40, 40]
    assert runs[0].makespan_reference_s == runs[1].makespan_reference_s is not None
    assert runs[0].makespan_s != runs[1].makespan_s


def test_a_batch_has_no_rate_and_no_burst() -> None:
    source = Source(workload="toolbench", num_requests=9, offline="random")
    with pytest.raises(ConfigError, match="neither a rate nor a burst"):
        source.load(seed=1, rps=1.0)
    with pytest.raises(ConfigError, match="neither a rate nor a burst"):
        replace(source, burst=Burst(1, 1, 2)).load(seed=1, rps=None)


def test_a_trace_without_arrivals_can_be_a_batch(tmp_path: Path) -> None:
    file = tmp_path / "leval.jsonl"
    row = '{"group": "d", "timestamp": 0, "input_length": 20, "output_length": 2, "hash_ids": [%d]}'
    file.write_text("\n".join(row % n for n in range(5)))
    requests = Source(trace=str(file), offline="sorted").load(seed=1, rps=None).requests
    assert [one.at_s for one in requests] == [0] * 5


def test_a_burst_is_drained_and_leaves_the_load_as_it_was() -> None:
    """What a load of 1 is does not depend on bursts, changes or bindings."""
    burst = replace(
        PLAN, source=replace(PLAN.source, burst=Burst(1, 1, 3)), policies=("e2",), seeds=(1,),
        rates_rps=(), loads=(0.5,), pool=replace(POOL, binding="late", changes=(JOINS,)),
    )  # fmt: skip
    report = simulate(burst, jobs=1, on_run=told)
    assert report.sustained_rps == sustained_rps(PLAN.source, POOL, seed=1, warm_up=PLAN.warm_up)
    assert report.runs[0].drain is not None


def test_another_yardstick_gives_another_load() -> None:
    source = Source(workload="loogle", num_requests=100)
    pool = replace(POOL, engine=replace(ENGINE, kv_capacity_tokens=60_000))
    blind, aware = (
        sustained_rps(source, pool, seed=1, warm_up=0.25, yardstick=policy)
        for policy in ("round_robin", "longest_prefix")
    )
    assert blind < aware


def test_processes_of_a_killed_simulation_end_with_it() -> None:
    """They hold its output open, so this ends only when all are gone."""
    done = subprocess.run(
        [sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
