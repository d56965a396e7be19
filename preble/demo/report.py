"""The demo's figures as a table, and as JSON."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from preble.client import Job
from preble.config import EngineKind, Settings
from preble.demo.figures import RoundFigures
from preble.demo.prompts import Prompt
from preble.serve.plan import worker_settings

NUM_ANSWERS: Final = 4
_SHOWN_CHARACTERS: Final = 88

_ROWS: Final[dict[str, Callable[[RoundFigures], str]]] = {
    "jobs completed": lambda f: f"{f.num_completed} of {f.num_jobs}",
    "jobs per instance": lambda f: "  ".join(
        f"{name} {count}" for name, count in f.jobs_per_instance.items()
    ),
    "jobs with a hit": lambda f: f"{f.num_with_hits} of {f.num_jobs}",
    "prompt tokens": lambda f: f"{f.prompt_tokens:,}",
    "hit tokens predicted": lambda f: f"{f.predicted_hit_tokens:,}",
    "hit tokens delivered": lambda f: f"{f.delivered_hit_tokens:,}",
    "hit rate": lambda f: f"{f.hit_rate:.1%}",
    "E2E latency, mean": lambda f: f"{f.mean_latency_s:.2f} s",
    "E2E latency, p99": lambda f: f"{f.p99_latency_s:.2f} s",
    "whole round": lambda f: f"{f.wall_s:.1f} s",
}


def introduce(console: Console, settings: Settings, prompts: Sequence[Prompt]) -> None:
    """Print what is going to be measured."""
    num_prefixes = len({prompt.prefix for prompt in prompts})
    instances = ", ".join(worker.instance for worker in worker_settings(settings))
    line = f"{len(prompts)} prompts that share {num_prefixes} prefixes; {instances}: "
    line += f"{settings.engine} engine"
    if settings.kv_capacity_tokens and settings.engine != "http":
        line += f" with a KV cache of {settings.kv_capacity_tokens:,} tokens each"
    _print_plain(console, line)


def show_failure(console: Console, jobs: Sequence[Job]) -> None:
    """Print why the first failed job failed, if one did."""
    for job in jobs:
        if job.error:
            _print_plain(console, f"job {job.id} failed: {job.error.code}: {job.error.message}")
            return


def show_figures(console: Console, rounds: Sequence[RoundFigures]) -> None:
    """Print one column for each round."""
    table = Table(title="The same prompts, placed by two policies", title_justify="left")
    table.add_column()
    for each in rounds:
        table.add_column(each.policy, justify="right")
    for name, cell in _ROWS.items():
        table.add_row(name, *(cell(each) for each in rounds))
    console.print(table)


def show_answers(
    console: Console, engine: EngineKind, prompts: Sequence[Prompt], jobs: Sequence[Job]
) -> None:
    """Print the first answer to each of a few prefixes."""
    answers = {
        prompt.prefix: (prompt, job.result.text)
        for prompt, job in reversed(list(zip(prompts, jobs, strict=True)))
        if job.result
    }
    note = (
        ""
        if engine in {"http", "sglang"}
        else f" (the {engine} engine only repeats the end of a prompt)"
    )
    console.print(f"Some answers{note}:")
    for prompt, text in list(answers.values())[-NUM_ANSWERS:]:
        _print_plain(console, f"  {prompt.prefix}: {asked(prompt)}")
        _print_plain(console, f"    → {shown(text)}")


def _print_plain(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def asked(prompt: Prompt) -> str:
    """The end of a prompt in one line: its last line but the cue that begins the answer."""
    lines = [line for line in prompt.question.splitlines() if line not in {"Answer:", ">"}]
    last = lines[-1]
    return last if len(last) <= _SHOWN_CHARACTERS else "…" + last[-_SHOWN_CHARACTERS:]


def shown(text: str) -> str:
    """An answer in one short line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"


def save_figures(
    path: Path,
    settings: Settings,
    rounds: Sequence[RoundFigures],
    prompts: Sequence[Prompt],
    jobs: Sequence[Job],
) -> None:
    """Write the figures, what they were measured with, and the last round's answers.

    Changes: the file.
    """
    pairs = zip(prompts, jobs, strict=True)
    report = {
        "engine": settings.engine,
        "model": settings.model,
        "kv_capacity_tokens": settings.kv_capacity_tokens,
        "rounds": [{**msgspec.to_builtins(each), "hit_rate": each.hit_rate} for each in rounds],
        "answers": [[asked(prompt), job.result.text] for prompt, job in pairs if job.result],
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
