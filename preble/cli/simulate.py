"""`preble simulate`: policies on a workload, in virtual time."""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeVar, get_args

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from preble.config import Binding, PolicyName, WaitOrder, check_policy
from preble.errors import ConfigError
from preble.simulator.changes import parse_changes
from preble.simulator.matrix import Plan, Report
from preble.simulator.matrix import simulate as run_plan
from preble.simulator.outcome import PoolSettings
from preble.simulator.run import EngineSettings, StepKind
from preble.simulator.source import Offline, Source, parse_burst
from preble.simulator.tables import table, tenants_table, to_csv

_WIDE: Final = 160
"""Columns of a table that is not shown on a terminal."""

T = TypeVar("T")


def simulate(
    *,
    workload: Annotated[str | None, typer.Option(help="Name of a workload to draw.")] = None,
    trace: Annotated[
        Path | None, typer.Option(help="File with a recorded workload, plain or gzip.")
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(min=4, help="How many to draw (1000), or to take of the trace (all)."),
    ] = None,
    skip: Annotated[
        int, typer.Option(min=0, help="How many at the trace's beginning to leave out.")
    ] = 0,
    block_size: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a block (64, or the trace's own).")
    ] = None,
    offline: Annotated[
        Offline | None,
        typer.Option(help="All requests at once: in random order, or sorted by prefix."),
    ] = None,
    burst: Annotated[
        str | None,
        typer.Option(help="Faster for a while: second, duration and factor, such as `300,60,2.5`."),
    ] = None,
    gpu: Annotated[str, typer.Option(help="GPU of the cost model.")] = "a6000",
    model: Annotated[str, typer.Option(help="Model of the cost model.")] = "mistral_7b",
    cost_model: Annotated[
        str | None,
        typer.Option(help="Name or file of a cost model, instead of --gpu and --model."),
    ] = None,
    instances: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 8,
    speeds: Annotated[
        str | None,
        typer.Option(help="One for each instance, if they differ, such as `1,1,0.5`."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help=f"Rules to compare, of: {', '.join(get_args(PolicyName))}; "
            "or your own, as `module:attribute`."
        ),
    ] = "e2,least_outstanding",
    rps: Annotated[
        str | None, typer.Option(help="Arrivals a second, such as `4,8`; else the trace's own.")
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(
            help="Instead of --rps: shares of the rate that least_outstanding sustains, "
            "such as `0.8,0.95`; that rate is found first."
        ),
    ] = None,
    chunk: Annotated[int, typer.Option(min=1, help="Prompt tokens computed in a step.")] = 2048,
    steps: Annotated[
        StepKind,
        typer.Option(help="Prefill and decodes in one step, or prefill alone and first."),
    ] = "mixed",
    running: Annotated[int, typer.Option(min=1, help="Requests in a batch.")] = 64,
    kv_capacity_tokens: Annotated[
        int, typer.Option(min=1, help="KV cache of each instance.")
    ] = 198_516,
    output_reserve: Annotated[
        float,
        typer.Option(
            min=0, max=1,
            help="Share of running outputs that memory is kept for when a request is admitted; "
            "below 1, requests are retracted when memory runs out.",
        ),
    ] = 1.0,
    binding: Annotated[
        str, typer.Option(help="Assign requests as they come, `late`, planned, or `eager,late`.")
    ] = "eager",
    credit: Annotated[
        float, typer.Option(min=0.001, help="Seconds of prefill that `late` gives ahead.")
    ] = 0.5,
    window: Annotated[
        int, typer.Option(min=1, help="Requests of each class and tenant `late` plans at once.")
    ] = 64,
    batch_window: Annotated[
        int, typer.Option(min=1, help="The same of priority `batch`.")
    ] = 256,
    wait_queue: Annotated[
        WaitOrder, typer.Option(help="Order of what waits in front of an engine.")
    ] = "fcfs",
    changes: Annotated[
        str, typer.Option(
            help="Instances that turn slow, die or join, such as `slow@60:0x2,die@90:1,join@300:1`."
        ),
    ] = "",
    detect: Annotated[
        float, typer.Option(min=0, help="Seconds until a death is noticed: the lease.")
    ] = 10.0,
    event_delay: Annotated[
        float, typer.Option(min=0, help="Seconds until the scheduler hears of a step.")
    ] = 0.005,
    history: Annotated[
        float, typer.Option(min=0.001, help="Window H of the scheduler, in seconds.")
    ] = 180.0,
    seed: Annotated[int, typer.Option(help="For all that is drawn.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from --seed on.")] = 1,
    warm_up: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of the requests not measured.")
    ] = 0.25,
    timeline: Annotated[
        float | None,
        typer.Option(min=0.01, help="Sample queues every so many seconds, for `preble plot`."),
    ] = None,
    json: Annotated[str | None, typer.Option(help="File for all figures; `-` for stdout.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File with a line for each run.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes to use (as many as there are CPUs).")
    ] = None,
) -> None:  # fmt: skip
    """Compare policies on a workload, in virtual time, beside bounds that none can beat."""
    if (workload is None) == (trace is None):
        raise ConfigError("give either --workload or --trace")
    if rps and load:
        raise ConfigError("give --rps or --load, not both")
    if offline and (rps or load):
        raise ConfigError("requests that come all at once (--offline) have no --rps and no --load")
    engine = EngineSettings(
        cost_model=cost_model or f"{model}_{gpu}", kv_capacity_tokens=kv_capacity_tokens,
        chunk_tokens=chunk, slots=running, steps=steps, wait_order=wait_queue,
        output_reserve=output_reserve,
    )  # fmt: skip
    policies = tuple(name.strip() for name in policy.split(","))
    for name in policies:
        check_policy(name)
    bindings: tuple[Binding, ...] = tuple(
        _named("binding", name, get_args(Binding)) for name in binding.split(",")
    )
    pool = PoolSettings(
        policy=policies[0], engine=engine, speeds=_speeds(speeds, instances),
        event_delay_s=event_delay, history_s=history, credit_s=credit, window_jobs=window,
        batch_window_jobs=batch_window, changes=parse_changes(changes), detect_s=detect,
    )  # fmt: skip
    plan = Plan(
        source=Source(
            workload, str(trace) if trace else None, requests, skip, block_size, offline,
            parse_burst(burst) if burst else None,
        ),
        pool=pool, policies=policies, bindings=bindings, rates_rps=_positives("--rps", rps),
        loads=_positives("--load", load), seeds=tuple(range(seed, seed + seeds)),
        warm_up=warm_up, timeline_s=timeline,
    )  # fmt: skip
    with _progress() as on_run:
        report = run_plan(plan, jobs=jobs or os.cpu_count() or 1, on_run=on_run)
    _write(report, json, csv)


def _write(report: Report, json: str | None, csv: Path | None) -> None:
    document = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    try:
        if csv:
            csv.write_text(to_csv(report))
        if json and json != "-":
            Path(json).write_bytes(document)
    except OSError as error:
        raise ConfigError(f"cannot write {error.filename}: {error.strerror}") from None
    if json == "-":
        sys.stdout.write(document.decode())
    else:
        terminal = Console()
        console = terminal if terminal.is_terminal else Console(width=_WIDE)
        console.print(table(report))
        if any(run.tenants for run in report.runs):
            console.print(tenants_table(report))


def _named(kind: str, text: str, known: Sequence[T]) -> T:
    """The name of a kind that the text is. Raises: ConfigError."""
    for name in known:
        if name == text.strip():
            return name
    raise ConfigError(f"no {kind} is named {text!r}; there are: {', '.join(map(str, known))}")


def _speeds(text: str | None, instances: int) -> tuple[float, ...]:
    speeds = _positives("--speeds", text) or (1.0,) * instances
    if len(speeds) != instances:
        raise ConfigError(f"--speeds has {len(speeds)} numbers for {instances} instances")
    return speeds


def _positives(flag: str, text: str | None) -> tuple[float, ...]:
    """Numbers between commas; none for no text. Raises: ConfigError."""
    numbers = tuple(_number(flag, part) for part in text.split(",")) if text else ()
    if any(not 0 < number < float("inf") for number in numbers):
        raise ConfigError(f"{flag} takes numbers above 0, not {text!r}")
    return numbers


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{flag} takes numbers with commas between them, not {text!r}") from None


@contextmanager
def _progress() -> Generator[Callable[[int, int], object]]:
    """A bar on stderr, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("simulating", total=None)
        yield lambda ended, total: progress.update(task, completed=ended, total=total)
