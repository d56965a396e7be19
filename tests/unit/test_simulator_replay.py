"""Requests, the production scheduler and engines on one virtual time."""

import os
import subprocess
import sys
from collections.abc import Sequence

import msgspec
import pytest

from preble.config import PolicyName
from preble.errors import ConfigError
from preble.messages import Assignment, WaitingJob, pack_keys
from preble.scheduler import Scheduler
from preble.simulator.outcome import PoolSettings, Replayed
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import TimedRequest, Workload

BLOCK = 16

SCRIPT = """
import msgspec
from preble.simulator.outcome import PoolSettings
from preble.simulator.replay import replay
from preble.simulator.run import EngineSettings
from preble.simulator.workload import create_workload
workload = create_workload("toolbench", seed=3, num_requests=60, rps=20.0)
engine = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=20_000)
pool = PoolSettings(policy="e2", engine=engine, speeds=(1.0, 1.0, 0.5))
print(msgspec.json.encode(replay(workload, pool).served).decode())
"""


def pool(
    *speeds: float, policy: PolicyName = "e2", kv_capacity_tokens: int = 10_000,
    event_delay_s: float = 0.0,
) -> PoolSettings:  # fmt: skip
    engine = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=kv_capacity_tokens)
    return PoolSettings(
        policy=policy, engine=engine, speeds=speeds or (1.0, 1.0), event_delay_s=event_delay_s
    )


def workload(*requests: TimedRequest) -> Workload:
    return Workload("few", BLOCK, requests)


def request(at_s: float, *keys: int, output_tokens: int = 5) -> TimedRequest:
    return TimedRequest(at_s, len(keys) * BLOCK + 1, output_tokens, pack_keys(keys))


def instances(replayed: Replayed) -> list[int]:
    return [one.instance for one in replayed.served]


def test_nothing_comes_of_nothing() -> None:
    assert replay(workload(), pool()).served == ()


def test_a_second_request_goes_where_its_prefix_is() -> None:
    replayed = replay(workload(request(0, 1, 2, 3), request(5, 1, 2, 3)), pool())
    first, second = replayed.served
    assert first.instance == second.instance
    assert second.available_hit_tokens == second.predicted_hit_tokens == second.hit_tokens == 48
    assert second.latency_s < first.latency_s


def test_requests_that_come_together_start_together() -> None:
    replayed = replay(workload(request(1, 1), request(1, 2)), pool(1.0, policy="round_robin"))
    first, second = replayed.served
    assert (first.admitted_at_s, second.admitted_at_s) == (1.0, 1.0)
    assert first.first_token_at_s == second.first_token_at_s


def test_the_scheduler_hears_of_blocks_and_ends_after_the_delay() -> None:
    """Until then, the ended job still counts where it ran."""
    requests = workload(request(0, 1), request(3, 2))
    late = pool(policy="least_outstanding", event_delay_s=60)
    assert instances(replay(requests, pool(policy="least_outstanding"))) == [0, 0]
    assert instances(replay(requests, late)) == [0, 1]


def test_slow_instances_take_longer() -> None:
    requests = workload(request(0, 1), request(0, 2))
    fast, slow = replay(requests, pool(1.0, 0.25, policy="round_robin")).served
    assert slow.latency_s == pytest.approx(4 * fast.latency_s)


def test_times_of_a_request_are_its_way() -> None:
    (one,) = replay(workload(request(2, 1, output_tokens=3)), pool()).served
    assert one.wait_s == 0
    assert one.latency_s == pytest.approx(one.ttft_s + 2 * one.tpot_s)


def test_a_request_that_fits_nowhere_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="53 tokens exceeds the KV cache of 50"):
        replay(workload(request(0, 1, 2, 3, output_tokens=4)), pool(kv_capacity_tokens=50))


def test_the_timeline_shows_each_instance_in_regular_intervals() -> None:
    requests = workload(request(0.5, 1, output_tokens=100), request(0.5, 2, output_tokens=100))
    timeline = replay(requests, pool(policy="round_robin"), timeline_s=1.0).timeline
    assert [sample.at_s for sample in timeline] == [0.0, 1.0, 2.0]
    assert [sample.running for sample in timeline] == [(0, 0), (1, 1), (1, 1)]
    assert all(sample.waiting == (0, 0) for sample in timeline)


def test_processes_with_other_hash_seeds_decide_alike() -> None:
    """Sets and dicts of strings are ordered by the seed; no decision may be."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_late_binding_keeps_what_no_instance_has_use_for() -> None:
    """Two prompts of their own at once: the instance's credit is spent on the first."""
    requests = workload(*(request(0, *range(100 * n, 100 * n + 60)) for n in range(1, 4)))
    late = msgspec.structs.replace(pool(1.0), binding="late", credit_s=0.001)
    eager = replay(requests, pool(1.0)).served
    served = replay(requests, late).served
    assert [one.admitted_at_s for one in eager[:2]] == [0, 0]
    assert served[0].admitted_at_s == 0
    assert served[1].admitted_at_s >= served[0].first_token_at_s
    assert served[2].admitted_at_s >= served[1].first_token_at_s


def test_late_binding_loses_no_request() -> None:
    requests = workload(*(request(n / 50, 1000 + n % 7, 2000 + n, 3000 + n) for n in range(199)))
    late = msgspec.structs.replace(pool(1.0, 0.5), binding="late", window_jobs=8)
    assert len(replay(requests, late).served) == 199


def test_requests_that_come_together_are_planned_together(monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[int] = []
    plan = Scheduler.plan

    def counted(
        self: Scheduler, jobs: Sequence[WaitingJob], *, credit_s: float, now_s: float
    ) -> list[Assignment]:
        plans.append(len(jobs))
        return plan(self, jobs, credit_s=credit_s, now_s=now_s)

    monkeypatch.setattr(Scheduler, "plan", counted)
    requests = workload(*(request(1, n, output_tokens=1) for n in range(20)))
    replay(requests, msgspec.structs.replace(pool(), binding="late", credit_s=1000.0))
    assert plans == [20]


def test_a_flood_of_one_tenant_does_not_fill_the_window_of_another() -> None:
    """The flood's window is full; the other tenant's request is planned as it comes."""
    flood = [
        msgspec.structs.replace(request(0, *range(100 * n, 100 * n + 60)), tenant="flood")
        for n in range(1, 30)
    ]
    chat = msgspec.structs.replace(request(0.5, 7), tenant="chat")
    late = msgspec.structs.replace(pool(1.0), binding="late", credit_s=0.2, window_jobs=4)
    served = replay(workload(*flood, chat), late).served
    waits_s = sorted(one.wait_s for one in served[:-1])
    assert served[-1].wait_s < waits_s[len(waits_s) // 2]


def test_what_instances_are_busy_with_after_the_warm_up_is_measured() -> None:
    requests = workload(request(0, 1), request(9, 2))
    one = replay(requests, pool(1.0)).served[1].latency_s
    (totals,) = replay(requests, pool(1.0), skip=1).instances
    assert totals.measured_busy_s == pytest.approx(one)
    assert totals.busy_s == pytest.approx(2 * one)
