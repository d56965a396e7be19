"""`preble demo`: the same prompts placed by two policies, each on a fresh private stack.

Both rounds go the whole way: HTTP api, durable queue, scheduler, two workers with engines.
What differs is the policy alone, so what differs in the figures is its work.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from preble.client import Client, Job
from preble.config import PolicyName, Settings
from preble.demo.engines import flush_engines
from preble.demo.figures import RoundFigures, round_figures
from preble.demo.progress import progress_of, waiting
from preble.demo.prompts import Prompt, load_prompts
from preble.demo.report import (
    introduce,
    save_figures,
    show_answers,
    show_failure,
    show_figures,
)
from preble.demo.round import run_round
from preble.folders import EMBEDDED_MODEL
from preble.serve.plan import worker_settings
from preble.serve.private import private_stack

__all__ = ["demo_defaults", "run_demo"]

_POLICIES: Final[tuple[PolicyName, ...]] = ("round_robin", "preble")
_RETRY_FOR_S: Final = 15.0


def demo_defaults(settings: Settings) -> dict[str, str]:
    """Environment that the demo begins with; the user's own and the flags come on top.

    All prefixes together are larger than one instance's KV cache, as they are in earnest;
    two instances together can hold them.
    """
    if settings.engine in {"http", "sglang"} and not _is_small(settings):
        return {}
    context_length, capacity_tokens = (1280, 4096) if _is_small(settings) else (4096, 14_336)
    return {
        "PREBLE_CONTEXT_LENGTH": str(context_length),
        "PREBLE_KV_CAPACITY_TOKENS": str(capacity_tokens),
    }


def _is_small(settings: Settings) -> bool:
    """Whether real tokens are computed by the embedded model, which runs on a CPU."""
    return settings.engine == "sglang" and settings.model == EMBEDDED_MODEL


def run_demo(settings: Settings, console: Console, json_file: Path | None) -> bool:
    """Run both rounds and show what they came to.

    Args:
        settings: Engine, workers and pool; policy, ports and data folder are the demo's.
        console: Where progress and figures go.
        json_file: Where to write the figures, too.

    Returns:
        Whether every job of both rounds was completed.

    Raises:
        PrebleError: If a round cannot be run.
    """
    prompts = load_prompts(is_small=_is_small(settings))
    introduce(console, settings, prompts)
    rounds: list[RoundFigures] = []
    jobs: Sequence[Job] = ()
    for policy in _POLICIES:
        jobs, wall_s = _run_policy(settings, policy, prompts, console)
        rounds.append(round_figures(policy, jobs, wall_s=wall_s))
        show_failure(console, jobs)
    show_figures(console, rounds)
    show_answers(console, settings.engine, prompts, jobs)
    if json_file:
        save_figures(json_file, settings, rounds, prompts, jobs)
    return all(each.is_complete for each in rounds)


def _run_policy(
    settings: Settings, policy: PolicyName, prompts: Sequence[Prompt], console: Console
) -> tuple[list[Job], float]:
    flush_engines(settings)
    settings = msgspec.structs.replace(settings, policy=policy)
    with contextlib.ExitStack() as running:
        with waiting(console, policy, _what_starts(settings)):
            stack = running.enter_context(private_stack(settings))
        client = running.enter_context(
            Client(stack.url, api_key=settings.api_key, retry_for_s=_RETRY_FOR_S)
        )
        on_progress = running.enter_context(progress_of(console, policy, len(prompts)))
        return run_round(client, [prompt.job for prompt in prompts], on_progress)


def _what_starts(settings: Settings) -> str:
    line = "starting api, scheduler, workers and Valkey"
    if settings.engine == "sglang":
        line += f"; {len(worker_settings(settings))} engines load {settings.model}"
    return line
