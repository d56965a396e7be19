"""Figures of a replay, worked by hand, and what is made of them."""

import csv
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from preble.messages import pack_keys
from preble.simulator.bounds import Bounds
from preble.simulator.distribution import Distribution
from preble.simulator.drain import drain
from preble.simulator.matrix import Plan, Report
from preble.simulator.outcome import (
    InstanceTotals,
    PoolSettings,
    Replayed,
    Served,
    TimelineSample,
)
from preble.simulator.report import Figures, figures
from preble.simulator.run import EngineSettings
from preble.simulator.source import Burst, Source
from preble.simulator.tables import table, tenants_table, to_csv
from preble.simulator.tenants import tenant_figures
from preble.simulator.workload import TimedRequest


def served(at_s: float, instance: int, *, hit_tokens: int = 0, output_tokens: int = 3) -> Served:
    """100 prompt tokens; admitted after 1 s, first token after 2 s, ends after 6 s."""
    return Served(
        TimedRequest(at_s, 100, output_tokens, pack_keys(())), instance, admitted_at_s=at_s + 1,
        first_token_at_s=at_s + 2, ended_at_s=at_s + 6, available_hit_tokens=60,
        predicted_hit_tokens=50, hit_tokens=hit_tokens, recomputed_tokens=5,
    )  # fmt: skip


def summed(*requests: Served, skip: int = 0) -> Figures:
    totals = (InstanceTotals(9.0, 0, 7, 1, 6.0, 4), InstanceTotals(3.0, 0, 2, 0, 3.0))
    timeline = (TimelineSample(0.0, (0, 0), (1, 1)),)
    return figures(
        Replayed(requests, totals, timeline), Bounds(0.7, 1.5, 0.5), policy="e2",
        binding="late", seed=4, load=0.8, rps=2.0, skip=skip,
    )  # fmt: skip


def test_times_count_from_arrival() -> None:
    run = summed(served(0, 0), served(1, 1))
    assert run.latency_s == Distribution(6, 6, 6)
    assert (run.ttft_s.mean, run.wait_s.mean, run.tpot_s.mean) == (2, 1, 2)
    assert run.mean_latency_bound_s == 1.5


def test_one_token_has_no_time_between_tokens() -> None:
    assert summed(served(0, 0), served(1, 1, output_tokens=1)).tpot_s.mean == 2


def test_hit_rates_are_by_tokens() -> None:
    rates = summed(served(0, 0, hit_tokens=40), served(1, 1)).hit_rates
    assert (rates.available, rates.predicted, rates.delivered, rates.bound) == (0.6, 0.5, 0.2, 0.7)


def test_imbalance_is_most_over_mean() -> None:
    """Computed: 105 + 105 and 65 tokens; busy after the warm-up: 6 and 3 seconds."""
    run = summed(served(0, 0), served(1, 0), served(1, 1, hit_tokens=40))
    assert run.prefill_imbalance == pytest.approx(210 / ((210 + 65) / 2))
    assert run.busy_imbalance == pytest.approx(6 / 4.5)


def test_throughput_is_over_the_time_from_first_arrival_to_last_end() -> None:
    run = summed(served(0, 0), served(2, 1), served(4, 1))
    assert (run.requests_per_s, run.output_tokens_per_s) == (3 / 10, 9 / 10)
    assert (run.retractions, run.evicted_blocks, run.recomputed_tokens) == (1, 9, 15)


def test_the_warm_up_is_left_out() -> None:
    run = summed(served(0, 0, hit_tokens=90), served(2, 1), skip=1)
    assert (run.num_requests, run.hit_rates.delivered) == (1, 0.0)
    assert run.requests_per_s == 1 / 6


def test_the_makespan_is_from_the_first_arrival_to_the_last_end_whatever_is_measured() -> None:
    run = summed(served(1, 0), served(2, 1), served(4, 1), skip=2)
    assert run.makespan_s == 9
    assert run.makespan_reference_s is None
    assert run.lost_tokens == 4


def of_tenant(tenant: str, at_s: float, admitted_at_s: float, ended_at_s: float) -> Served:
    """100 tokens, half of them hit, computed in no time; then 20 tokens, evenly."""
    request = TimedRequest(at_s, 100, 20, pack_keys(()), tenant=tenant)
    return Served(
        request, 0, admitted_at_s, admitted_at_s + 1, ended_at_s, available_hit_tokens=50,
        predicted_hit_tokens=50, hit_tokens=50, recomputed_tokens=0,
    )  # fmt: skip


def test_one_tenant_shares_with_nobody() -> None:
    assert tenant_figures([of_tenant("", 0, 1, 6), of_tenant("default", 1, 2, 8)]) == {}


def test_tenants_have_figures_of_their_own() -> None:
    """Both wait in 2..4: of a, 1 s of prefill and 1 of 5 s of decoding; of b, nothing."""
    figures = tenant_figures([
        of_tenant("a", 0, 2, 8), of_tenant("b", 2, 6, 12), of_tenant("a", 1, 4, 7),
    ])  # fmt: skip
    assert list(figures) == ["a", "b"]
    a, b = figures["a"], figures["b"]
    assert (a.num_requests, a.service_tokens, a.wait_s.mean, a.latency_s.mean) == (2, 140, 2.5, 7.0)
    assert (b.num_requests, b.service_tokens, b.wait_s.p99, b.latency_s.p50) == (1, 70, 4.0, 10.0)
    assert (a.contended_share, b.contended_share) == (1.0, 0.0)


def test_the_contended_share_counts_tokens_of_the_time_in_which_all_wait() -> None:
    """Both wait in 0..4. In it a prefills 50, and b prefills 50 and produces 2 of 4 s: 10."""
    figures = tenant_figures([
        of_tenant("a", 0, 4, 6), of_tenant("b", 0, 4, 6),
        of_tenant("a", 0, 3, 5), of_tenant("b", 0, 1, 6),
    ])  # fmt: skip
    assert figures["a"].contended_share == pytest.approx(50 / (50 + 50 + 10))


def test_tenants_that_never_wait_at_once_share_nothing() -> None:
    figures = tenant_figures([of_tenant("a", 0, 1, 6), of_tenant("b", 1, 2, 6)])
    assert [one.contended_share for one in figures.values()] == [None, None]


def in_pool(at_s: float, ended_at_s: float) -> Served:
    return of_tenant("", at_s, at_s, ended_at_s)


BEFORE = [in_pool(float(n), n + 1.0) for n in range(10)]
"""One request in the pool at any time before second 10."""


def test_a_burst_is_drained_when_no_more_are_in_the_pool_than_before() -> None:
    """Six are there as it ends at 20; five have ended by 30."""
    burst = [in_pool(15, 20.0 + 2 * n) for n in range(1, 7)]
    outcome = drain([*BEFORE, *burst, in_pool(40, 41)], Burst(10, 10, 2))
    assert (outcome.level_before, outcome.level_at_end) == (1, 6)
    assert (outcome.drain_s, outcome.drained_per_s) == (10, 0.5)


def test_a_burst_that_leaves_no_queue_is_drained_at_once() -> None:
    outcome = drain([*BEFORE, in_pool(15, 16), in_pool(40, 41)], Burst(10, 10, 2))
    assert (outcome.drain_s, outcome.drained_per_s) == (0, 0)


def test_what_is_drained_only_after_the_last_arrival_counts_as_not() -> None:
    """Four requests as the burst ends, three as the last one has come, 10 s later."""
    burst = [in_pool(15, end_s) for end_s in (25, 26, 50, 51)]
    outcome = drain([*BEFORE, *burst, in_pool(30, 60)], Burst(10, 10, 2))
    assert outcome.drain_s is None
    assert outcome.drained_per_s == 0.1


def report(*runs: Figures) -> Report:
    engine = EngineSettings(cost_model="m", kv_capacity_tokens=9)
    pool = PoolSettings(policy="e2", engine=engine, speeds=(1.0, 1.0))
    plan = Plan(
        source=Source(workload="toolbench"),
        pool=pool,
        policies=("e2",),
        loads=(0.8,),
        seeds=(1, 2),
    )
    return Report("0.1", plan, 2.5, runs)


def test_a_report_survives_json() -> None:
    document = report(summed(served(0, 0)))
    assert msgspec.json.decode(msgspec.json.encode(document), type=Report) == document


def test_csv_has_a_line_for_each_run_and_plain_columns() -> None:
    runs = summed(served(0, 0)), summed(served(0, 1))
    rows = list(csv.DictReader(StringIO(to_csv(report(*runs)))))
    assert len(rows) == 2
    assert (rows[0]["policy"], rows[0]["latency_s_p99"], rows[0]["load"]) == ("e2", "6", "0.8")
    assert not {"instances", "timeline"} & rows[0].keys()


def test_the_table_has_a_line_for_each_policy_and_load_with_means_over_seeds() -> None:
    runs = summed(served(0, 0)), summed(served(0, 0, hit_tokens=50))
    console = Console(width=160, record=True, file=StringIO())
    console.print(table(report(*runs)))
    lines = [line for line in console.export_text().splitlines() if "e2, late" in line]
    assert len(lines) == 1
    assert "80%" in lines[0]
    assert "25.0%" in lines[0]


def test_tenants_have_a_table_with_a_line_for_each() -> None:
    requests = of_tenant("chat", 0, 2, 8), of_tenant("crawl", 2, 6, 12)
    shown = tenants_table(report(summed(*requests), summed(*requests)))
    assert shown.row_count == 2
    assert list(shown.columns[2].cells) == ["chat", "crawl"]
    assert list(shown.columns[6].cells) == ["2.00", "4.00"]
