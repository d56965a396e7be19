"""Make benchmarks/results/policies.{md,json}: every policy on every workload and trace.

    python tools/policy_table.py --traces FOLDER [--only SOURCE] [--policy NAME] [--jobs N]

FOLDER holds the traces, by the names below; a trace that is not there keeps its rows, if any.
Loads are shares of what least_outstanding sustains. One seed: read small gaps as none.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from preble.config import PolicyName
from preble.simulator.matrix import Plan, simulate
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
ENGINE: Final = EngineSettings(cost_model="mistral_7b_a6000", kv_capacity_tokens=198_516)
ENGINES: Final = {
    "claude_code_sessions": EngineSettings(cost_model="llama3_8b_h100", kv_capacity_tokens=450_000),
}
"""Of sources whose longest prompts do not fit that one."""
Row = dict[str, Any]
"""A line of the JSON file."""

OUT: Final = Path(__file__).parents[1] / "benchmarks" / "results"


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, required=True)
    parser.add_argument("--only")
    parser.add_argument("--policy", action="append", choices=get_args(PolicyName))
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    for name, source in sources(asked.traces):
        if asked.only in {None, name}:
            print(f"{name}: simulating", file=sys.stderr, flush=True)
            report = simulate(
                plan_of(name, source, asked.policy), jobs=asked.jobs, on_run=_be_quiet
            )
            write([row(name, run) for run in report.runs])
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


def plan_of(name: str, source: Source, policies: Sequence[PolicyName] | None) -> Plan:
    """Every policy, or these, at every load."""
    policies = tuple(policies or get_args(PolicyName))
    engine = ENGINES.get(name, ENGINE)
    pool = PoolSettings(policy=policies[0], engine=engine, speeds=(1.0,) * INSTANCES)
    return Plan(source=source, pool=pool, policies=policies, loads=LOADS)


def write(rows: list[Row]) -> None:
    """Both files, with these rows for one source; what was not made anew stays."""
    OUT.mkdir(parents=True, exist_ok=True)
    data = OUT / "policies.json"
    kept: list[Row] = json.loads(data.read_text()) if data.exists() else []
    new = {(each["source"], each["policy"]) for each in rows}
    kept = [each for each in kept if (each["source"], each["policy"]) not in new]
    order = [*WORKLOADS, *(file.partition(".")[0] for file in TRACES)]
    policies = get_args(PolicyName)
    by_source: dict[str, list[Row]] = {each: [] for each in order}
    for each in sorted([*kept, *rows], key=lambda each: policies.index(each["policy"])):
        by_source[each["source"]].append(each)
    by_source = {source: found for source, found in by_source.items() if found}
    data.write_text(
        json.dumps([each for rows in by_source.values() for each in rows], indent=0) + "\n"
    )
    (OUT / "policies.md").write_text("\n".join(_page(by_source)) + "\n")


def row(name: str, run: Figures) -> Row:
    """Times in seconds."""
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


def _page(by_source: dict[str, list[Row]]) -> Iterator[str]:
    yield "# Every policy on every workload and trace"
    yield ""
    yield "Made by `python tools/policy_table.py --traces FOLDER`; the figures do not depend on the"
    yield "machine. All of them, TTFT and waits too, are in `policies.json`."
    yield ""
    yield f"{INSTANCES} instances, chunk 2048, 64 running, mixed steps, `fcfs`, eager binding, the"
    yield "first quarter left out, one seed: read small gaps as none. A load of 100 % is what"
    yield "`least_outstanding` sustains (ADR 0012); in runs as short as these it comes out some"
    yield "per cent high. Each cell: mean / p99 E2E latency in seconds, hit rate delivered,"
    yield "imbalance (most / mean prefill tokens computed on an instance). *Bound*: no schedule has"
    yield "a lower mean, no cache a higher hit rate."
    for name, rows in by_source.items():
        yield from _table(name, rows)


def _table(name: str, rows: list[Row]) -> Iterator[str]:
    engine = ENGINES.get(name, ENGINE)
    by_cell = {(each["policy"], each["load"]): each for each in rows}
    first = [next(each for each in rows if each["load"] == load) for load in LOADS]
    yield from ("", f"## {name}", "")
    yield f"{first[0]['requests']:,} requests measured; `{engine.cost_model}`,"
    yield f"{engine.kv_capacity_tokens:,} KV tokens on each instance."
    yield ""
    heads = [f"{load:.0%} ({each['rps']:.2f}/s)" for load, each in zip(LOADS, first, strict=True)]
    yield f"| policy | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(LOADS)
    for policy in dict.fromkeys(each["policy"] for each in rows):
        yield f"| `{policy}` | {' | '.join(_cell(by_cell[policy, load]) for load in LOADS)} |"
    bounds = [f"{each['latency_mean_bound_s']:.2f}, {each['hit_rate_bound']:.1%}" for each in first]
    yield f"| *bound* | {' | '.join(bounds)} |"


def _cell(each: Row) -> str:
    latency = f"{each['latency_mean_s']:.2f} / {each['latency_p99_s']:.1f}"
    return f"{latency}, {each['hit_rate_delivered']:.1%}, {each['prefill_imbalance']:.2f}"


def _be_quiet(_done: int, _of: int) -> None:
    """No progress is shown."""


if __name__ == "__main__":
    sys.exit(main())
