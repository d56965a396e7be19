"""`preble bench`: figures of decisions, the dispatch path and predictions, as JSON."""

import math
import os
import sys
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
import typer
from msgspec.structs import replace

from preble.bench import batch as batch_bench
from preble.bench import decision as decision_bench
from preble.bench import dispatch as dispatch_bench
from preble.bench import hits as hits_bench
from preble.bench import replay as replay_bench
from preble.bench import restart as restart_bench
from preble.bench import streams as streams_bench
from preble.bench import tenants as tenants_bench
from preble.bench import text as text_bench
from preble.bench.prompts import longest, repeated
from preble.cli import options
from preble.config import PolicyName, Priority, load_settings
from preble.errors import ConfigError
from preble.simulator.source import DEFAULT_RPS, Source
from preble.simulator.workload import head, load_trace

app = typer.Typer(
    no_args_is_help=True, help="Measure decisions, the dispatch path and predictions."
)

PROMPT_TOKENS: Final = (1_024, 8_192, 32_768)
INSTANCES: Final = (4, 16, 64, 256)
CACHED_BLOCKS: Final = (10_000, 100_000, 1_000_000)

BLOCK_SIZE: Final = 64
"""Of emulated engines under load, their pages too: smaller ones only cost CPU."""

_Name = TypeVar("_Name", bound=str)

Json = Annotated[bool, typer.Option("--json", help="Bare JSON on one line, for programs.")]


@app.command()
def decision(
    *,
    policy: Annotated[PolicyName, typer.Option(help="Which decides.")] = "preble",
    tokens: Annotated[list[int] | None, typer.Option(help="Prompt lengths.")] = None,
    instances: Annotated[list[int] | None, typer.Option(help="Numbers of instances.")] = None,
    blocks: Annotated[list[int] | None, typer.Option(help="Numbers of cached blocks.")] = None,
    as_json: Json = False,
) -> None:
    """What one decision costs, and the prefix state it stands on."""
    figures = decision_bench.run(
        policy=policy,
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
def text(
    *,
    jobs: Annotated[int, typer.Option(min=1, help="Of each load, in hundreds.")] = 1_000,
    workers: Annotated[int | None, typer.Option(help="Workers with a no-op engine.")] = None,
    as_json: Json = False,
) -> None:
    """What jobs of text cost beside their tokenizer, on a private stack with no-op engines."""
    settings = load_settings(os.environ, workers=workers, engine="noop")
    _show(text_bench.run(settings, jobs=jobs, say=_say), is_bare=as_json)


@app.command()
def streams(
    *,
    count: Annotated[int, typer.Option("--streams", min=1, help="Streams of each part.")] = 100,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of each stream.")] = 50,
    concurrency: Annotated[int, typer.Option(min=1, help="Streams at once.")] = 32,
    requests: Annotated[int, typer.Option(min=1, help="Requests that do not stream.")] = 300,
    as_json: Json = False,
) -> None:
    """How long after the engine made it a client has a token, on a private stack."""
    plan = streams_bench.Plan(
        streams=count, tokens=tokens, concurrency=concurrency, requests=requests
    )
    figures = streams_bench.run(load_settings(os.environ), plan, say=_say)
    _show(figures, is_bare=as_json)


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
    policy: Annotated[
        str | None, typer.Option(help="One or more, with commas: ranked on both sides.")
    ] = None,
    binding: options.Binding = None,
    cost_model: Annotated[
        str | None, typer.Option(help="Of the simulator, and of emulated engines.")
    ] = None,
    speed: Annotated[float | None, typer.Option(help="Of emulated engines.")] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    rps: Annotated[float | None, typer.Option(help="Requests a second, on average.")] = None,
    seed: Annotated[int, typer.Option(help="For what the trace leaves open.")] = 1,
    as_json: Json = False,
) -> None:
    """A trace through a private stack, and beside it through the simulator."""
    settings = load_settings(
        os.environ, engine=engine, workers=workers, binding=binding, cost_model=cost_model,
        emulated_speed=speed,
    )  # fmt: skip
    workload = load_trace(trace, seed=seed, rps=rps, block_size=settings.block_size)
    if requests:
        workload = head(workload, requests)
    policies = _listed(policy or settings.policy, list[PolicyName])
    if settings.engine == "emulated":
        settings = replace(settings, context_length=max(longest(workload), settings.context_length))
    _show(replay_bench.run(settings, workload, policies, _say), is_bare=as_json)


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


@app.command()
def batch(
    *,
    trace: Annotated[
        Path | None, typer.Option(help="Its requests, asked anew until there are enough.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Prompts in the batch.")] = 20_000,
    workers: Annotated[int, typer.Option(help="Emulated engines.")] = 8,
    speed: Annotated[float, typer.Option(help="How many times faster than real they run.")] = 4.0,
    cost_model: Annotated[str | None, typer.Option(help="Of the engines.")] = None,
    ways: Annotated[
        str, typer.Option(help=f"Through the dispatcher, of {', '.join(batch_bench.WAYS)}.")
    ] = "preble,least_outstanding",
    patience: Annotated[
        float, typer.Option(help="Give a way up after so many times the makespan of the first.")
    ] = math.inf,
    as_json: Json = False,
) -> None:
    """Makespan of an offline batch, on private stacks and without a dispatcher."""
    source = Source(
        workload=None if trace else "loogle", trace=str(trace) if trace else None,
        num_requests=None if trace else jobs, block_size=BLOCK_SIZE,
    )  # fmt: skip
    workload = repeated(source.load(seed=1, rps=DEFAULT_RPS), jobs)
    settings = load_settings(
        os.environ, engine="emulated", workers=workers, emulated_speed=speed,
        cost_model=cost_model, block_size=BLOCK_SIZE, page_size=BLOCK_SIZE,
        context_length=longest(workload), log_level="warning",
    )  # fmt: skip
    figures = batch_bench.run(
        settings, workload, ways=_listed(ways, list[batch_bench.WayName]), patience=patience,
        say=_say,
    )  # fmt: skip
    _show(figures, is_bare=as_json)


@app.command()
def tenants(
    *,
    jobs: Annotated[int, typer.Option(min=1, help="Of the flood.")] = 100_000,
    priority: Annotated[Priority, typer.Option(help="Of the flood.")] = "normal",
    seconds: Annotated[float, typer.Option(help="Length of each phase.")] = 60.0,
    rate: Annotated[float, typer.Option(help="Interactive jobs a second.")] = 4.0,
    workers: Annotated[int, typer.Option(help="Emulated engines.")] = 4,
    speed: Annotated[float, typer.Option(help="How many times faster than real they run.")] = 1.0,
    as_json: Json = False,
) -> None:
    """How long one tenant waits while another floods the queue, on a private stack."""
    settings = load_settings(
        os.environ, engine="emulated", workers=workers, emulated_speed=speed,
        block_size=BLOCK_SIZE, page_size=BLOCK_SIZE, max_jobs=2 * jobs, log_level="warning",
    )  # fmt: skip
    plan = tenants_bench.Plan(flood_jobs=jobs, flood_priority=priority, seconds=seconds, rate=rate)
    _show(tenants_bench.run(settings, plan, _say), is_bare=as_json)


def _listed(text: str, kind: type[list[_Name]]) -> list[_Name]:
    """Names between commas. Raises: ConfigError if one is unknown."""
    try:
        return msgspec.convert(text.split(","), kind)
    except msgspec.ValidationError as error:
        msg = f"`{text}`: {error}"
        raise ConfigError(msg) from None


def _show(figures: msgspec.Struct, *, is_bare: bool) -> None:
    encoded = msgspec.json.encode(figures)
    sys.stdout.write((encoded if is_bare else msgspec.json.format(encoded)).decode() + "\n")


def _say(what: str) -> None:
    sys.stderr.write(f"measuring {what}\n")
