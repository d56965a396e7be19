"""Figures of a replay, worked by hand, and what is made of them."""

import csv
from io import StringIO

import msgspec
import pytest
from rich.console import Console

from preble.messages import pack_keys
from preble.simulator.bounds import Bounds
from preble.simulator.matrix import Plan, Report
from preble.simulator.outcome import (
    InstanceTotals,
    PoolSettings,
    Replayed,
    Served,
    TimelineSample,
)
from preble.simulator.report import Distribution, Figures, figures
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source
from preble.simulator.tables import table, to_csv
from preble.simulator.workload import TimedRequest


def served(at_s: float, instance: int, *, hit_tokens: int = 0, output_tokens: int = 3) -> Served:
    """100 prompt tokens; admitted after 1 s, first token after 2 s, ends after 6 s."""
    return Served(
        TimedRequest(at_s, 100, output_tokens, pack_keys(())), instance, admitted_at_s=at_s + 1,
        first_token_at_s=at_s + 2, ended_at_s=at_s + 6, available_hit_tokens=60,
        predicted_hit_tokens=50, hit_tokens=hit_tokens, recomputed_tokens=5,
    )  # fmt: skip


def summed(*requests: Served, skip: int = 0) -> Figures:
    totals = (InstanceTotals(9.0, 0, 7, 1), InstanceTotals(3.0, 0, 2, 0))
    timeline = (TimelineSample(0.0, (0, 0), (1, 1)),)
    return figures(
        Replayed(requests, totals, timeline), Bounds(0.7, 1.5, 0.5), policy="e2", seed=4,
        load=0.8, rps=2.0, skip=skip,
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
    """Computed: 105 + 105 and 65 tokens; busy: 9 and 3 seconds."""
    run = summed(served(0, 0), served(1, 0), served(1, 1, hit_tokens=40))
    assert run.prefill_imbalance == pytest.approx(210 / ((210 + 65) / 2))
    assert run.busy_imbalance == pytest.approx(1.5)


def test_throughput_is_over_the_time_from_first_arrival_to_last_end() -> None:
    run = summed(served(0, 0), served(2, 1), served(4, 1))
    assert (run.requests_per_s, run.output_tokens_per_s) == (3 / 10, 9 / 10)
    assert (run.retractions, run.evicted_blocks, run.recomputed_tokens) == (1, 9, 15)


def test_the_warm_up_is_left_out() -> None:
    run = summed(served(0, 0, hit_tokens=90), served(2, 1), skip=1)
    assert (run.num_requests, run.hit_rates.delivered) == (1, 0.0)
    assert run.requests_per_s == 1 / 6


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
    lines = [line for line in console.export_text().splitlines() if "e2" in line]
    assert len(lines) == 1
    assert "80%" in lines[0]
    assert "25.0%" in lines[0]
