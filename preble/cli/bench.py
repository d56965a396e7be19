"""`preble bench`: figures of decisions, the dispatch path and predictions, as JSON."""

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from preble.bench import decision as decision_bench
from preble.bench import dispatch as dispatch_bench
from preble.bench import hits as hits_bench
from preble.bench import replay as replay_bench
from preble.bench import restart as restart_bench
from preble.cli import options
from preble.config import load_settings
from preble.simulator.workload import head, load_trace

app = typer.Typer(
    no_args_is_help=True, help="Measure decisions, the dispatch path and predictions."
)

PROMPT_TOKENS: Final = (1_024, 8_192, 32_768)
INSTANCES: Final = (4, 16, 64, 256)
CACHED_BLOCKS: Final = (10_000, 100_000, 1_000_000)

Json = Annotated[bool, typer.Option("--json", help="Bare JSON on one line, for programs.")]


@app.command()
def decision(
    *,
    tokens: Annotated[list[int] | None, typer.Option(help="Prompt lengths.")] = None,
    instances: Annotated[list[int] | None, typer.Option(help="Numbers of instances.")] = None,
    blocks: Annotated[list[int] | None, typer.Option(help="Numbers of cached blocks.")] = None,
    as_json: Json = False,
) -> None:
    """What one decision costs, and the prefix state it stands on."""
    figures = decision_bench.run(
        prompt_tokens=tokens or PROMPT_TOKENS,
        instances=instances or INSTANCES,
        blocks=blocks or CACHED_BLOCKS,
        say=_say,
    )
    _show(figures, is_bare=as_json)


@app.command()
def dispatch(
    *,
    jobs: Annotated[int, typer.Option(min=100, help="Single submits to make.")] = 4_000,
    workers: Annotated[int | None, typer.Option(help="Workers with a no-op engine.")] = None,
    beside: Annotated[
        str | None, typer.Option(help="URL of a server to load with the same `/generate`s.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What the dispatch path costs, on a private stack with no-op engines."""
    settings = load_settings(os.environ, workers=workers, engine="noop")
    _show(dispatch_bench.run(settings, jobs=jobs, beside=beside, say=_say), is_bare=as_json)


@app.command()
def restart(
    *,
    blocks: Annotated[int, typer.Option(min=1, help="Cached blocks in all.")] = 1_000_000,
    instances: Annotated[int, typer.Option(min=1, help="Instances that hold them.")] = 16,
    as_json: Json = False,
) -> None:
    """How long a new scheduler takes until it decides with full knowledge."""
    settings = load_settings(os.environ, engine="noop")
    figures = restart_bench.run(settings, blocks=blocks, instances=instances, say=_say)
    _show(figures, is_bare=as_json)


@app.command()
def replay(
    trace: Annotated[
        Path, typer.Argument(help="A trace (docs/reference/trace_format.md).", exists=True)
    ],
    *,
    engine: options.Engine = None,
    workers: options.Workers = None,
    policy: options.Policy = None,
    cost_model: Annotated[
        str | None, typer.Option(help="Of the simulator, and of emulated engines.")
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    rps: Annotated[float | None, typer.Option(help="Requests a second, on average.")] = None,
    seed: Annotated[int, typer.Option(help="For what the trace leaves open.")] = 1,
    as_json: Json = False,
) -> None:
    """A trace through a private stack, and beside it through the simulator."""
    settings = load_settings(
        os.environ, engine=engine, workers=workers, policy=policy, cost_model=cost_model
    )
    workload = load_trace(trace, seed=seed, rps=rps, block_size=settings.block_size)
    if requests:
        workload = head(workload, requests)
    _show(replay_bench.run(settings, workload, _say), is_bare=as_json)


@app.command()
def hits(
    *,
    engine: options.Engine = None,
    workers: options.Workers = None,
    jobs: Annotated[int, typer.Option(min=1, help="Prompts to send.")] = 96,
    groups: Annotated[int, typer.Option(min=1, help="Prefixes that they share.")] = 12,
    prefix_tokens: Annotated[int, typer.Option(min=1, help="Length of each prefix.")] = 256,
    unique_tokens: Annotated[int, typer.Option(min=1, help="What each prompt adds.")] = 40,
    concurrency: Annotated[int, typer.Option(min=1, help="Jobs under way at once.")] = 16,
    kv_capacity_tokens: Annotated[
        int | None, typer.Option(help="KV cache of each engine; a small one evicts.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other prompts.")] = 1,
    as_json: Json = False,
) -> None:
    """Hit tokens predicted as jobs start beside those delivered, on a private stack."""
    settings = load_settings(
        os.environ, engine=engine, workers=workers, kv_capacity_tokens=kv_capacity_tokens
    )
    workload = hits_bench.Workload(
        jobs=jobs, groups=groups, prefix_tokens=prefix_tokens, unique_tokens=unique_tokens,
        concurrency=concurrency, seed=seed,
    )  # fmt: skip
    _show(hits_bench.run(settings, workload, _say), is_bare=as_json)


def _show(figures: msgspec.Struct, *, is_bare: bool) -> None:
    encoded = msgspec.json.encode(figures)
    sys.stdout.write((encoded if is_bare else msgspec.json.format(encoded)).decode() + "\n")


def _say(what: str) -> None:
    sys.stderr.write(f"measuring {what}\n")
