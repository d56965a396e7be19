"""Make benchmarks/results/policies.{md,json}: every policy on every workload and trace.

    python tools/policy_table.py --traces FOLDER [--jobs N]

FOLDER holds the traces, by the names below; a trace that is not there is left out, and said.
Loads are shares of what least_outstanding sustains. One seed: read small gaps as none.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from preble.config import PolicyName
from preble.errors import PrebleError
from preble.simulator.matrix import Plan, Report, simulate
from preble.simulator.outcome import PoolSettings
from preble.simulator.report import Figures
from preble.simulator.run import EngineSettings
from preble.simulator.source import Source

WORKLOADS: Final = {
    "toolbench": 4_000,
    "embodied": 5_000,
    "programming": 2_000,
    "video": 1_200,
    "loogle": 800,
    "mixed": 2_500,
    "shared_prefix": 2_500,
}
"""Requests of each: enough for queues to grow where they do."""
TRACES: Final = {
    "mooncake_conversation.jsonl.gz": 2_500,
    "leval_docqa.jsonl.gz": 2_074,
    "claude_code_sessions.jsonl.gz": 1_000,
    "azure_conversation_2023.csv": 3_000,
}
"""Likewise, from their beginnings."""

LOADS: Final = (0.8, 0.95, 1.1)
INSTANCES: Final = 8
KV_CAPACITY_TOKENS: Final = 198_516
COST_MODEL: Final = "mistral_7b_a6000"
OUT: Final = Path(__file__).parents[1] / "benchmarks" / "results"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    reports: dict[str, Report] = {}
    for name, source in sources(asked.traces):
        print(f"{name}: simulating", file=sys.stderr, flush=True)
        try:
            reports[name] = simulate(plan_of(source), jobs=asked.jobs, on_run=_be_quiet)
        except PrebleError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
            continue
        write(reports)
    return 0


def sources(traces: Path) -> Iterator[tuple[str, Source]]:
    """What is simulated, by name."""
    for name, requests in WORKLOADS.items():
        yield name, Source(workload=name, num_requests=requests)
    for file, requests in TRACES.items():
        name = file.partition(".")[0]
        if (traces / file).exists():
            yield name, Source(trace=str(traces / file), num_requests=requests)
        else:
            print(f"{name}: left out: there is no {file}", file=sys.stderr)


def plan_of(source: Source) -> Plan:
    """Every policy at every load."""
    engine = EngineSettings(cost_model=COST_MODEL, kv_capacity_tokens=KV_CAPACITY_TOKENS)
    policies: tuple[PolicyName, ...] = get_args(PolicyName)
    pool = PoolSettings(policy=policies[0], engine=engine, speeds=(1.0,) * INSTANCES)
    return Plan(source=source, pool=pool, policies=policies, loads=LOADS)


def write(reports: dict[str, Report]) -> None:
    """Both files, anew after each source."""
    OUT.mkdir(parents=True, exist_ok=True)
    rows = [row(name, run) for name, report in reports.items() for run in report.runs]
    (OUT / "policies.json").write_text(json.dumps(rows, indent=0) + "\n")
    (OUT / "policies.md").write_text("\n".join(_page(reports)) + "\n")


def row(name: str, run: Figures) -> dict[str, Any]:
    """One line of the JSON file; times in seconds."""
    return {
        "source": name,
        "load": run.load,
        "rps": round(run.rps, 4),
        "policy": run.policy,
        "seed": run.seed,
        "requests": run.num_requests,
        "latency_mean_s": round(run.latency_s.mean, 3),
        "latency_p50_s": round(run.latency_s.p50, 3),
        "latency_p99_s": round(run.latency_s.p99, 3),
        "latency_mean_bound_s": round(run.mean_latency_bound_s, 3),
        "ttft_mean_s": round(run.ttft_s.mean, 3),
        "wait_mean_s": round(run.wait_s.mean, 3),
        "hit_rate_available": round(run.hit_rates.available, 4),
        "hit_rate_predicted": round(run.hit_rates.predicted, 4),
        "hit_rate_delivered": round(run.hit_rates.delivered, 4),
        "hit_rate_bound": round(run.hit_rates.bound, 4),
        "prefill_imbalance": round(run.prefill_imbalance, 3),
        "retractions": run.retractions,
    }


def _page(reports: dict[str, Report]) -> Iterator[str]:
    yield "# Every policy on every workload and trace"
    yield ""
    yield "Made by `python tools/policy_table.py --traces FOLDER`"
    yield f"(Python {platform.python_version()}; figures do not depend on the machine)."
    yield ""
    yield f"{INSTANCES} instances, `{COST_MODEL}`, {KV_CAPACITY_TOKENS:,} KV tokens each, chunk"
    yield "2048, 64 running, mixed steps, eager binding, the first quarter left out, one seed: read"
    yield "small gaps as none. A load of 100 % is what `least_outstanding` sustains. Each cell:"
    yield "mean / p99 E2E latency in seconds, hit rate delivered, imbalance (most / mean prefill"
    yield "tokens computed on an instance). *Bound*: no schedule has a lower mean, no cache a"
    yield "higher hit rate."
    for name, report in reports.items():
        yield from _table(name, report)


def _table(name: str, report: Report) -> Iterator[str]:
    by_cell = {(run.policy, run.load): run for run in report.runs}
    first = [by_cell[report.plan.policies[0], load] for load in LOADS]
    yield ""
    yield f"## {name}"
    yield ""
    yield f"{first[0].num_requests} requests measured."
    yield ""
    heads = [f"{load:.0%} ({run.rps:.2f}/s)" for load, run in zip(LOADS, first, strict=True)]
    yield f"| policy | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(LOADS)
    for policy in report.plan.policies:
        cells = [_cell(by_cell[policy, load]) for load in LOADS]
        yield f"| `{policy}` | {' | '.join(cells)} |"
    bounds = [f"{run.mean_latency_bound_s:.2f}, {run.hit_rates.bound:.1%}" for run in first]
    yield f"| *bound* | {' | '.join(bounds)} |"


def _cell(run: Figures) -> str:
    latency = f"{run.latency_s.mean:.2f} / {run.latency_s.p99:.1f}"
    return f"{latency}, {run.hit_rates.delivered:.1%}, {run.prefill_imbalance:.2f}"


def _be_quiet(_done: int, _of: int) -> None:
    """No progress is shown."""


if __name__ == "__main__":
    sys.exit(main())
