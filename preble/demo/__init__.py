"""`preble demo`: the same prompts placed by two policies, each on a fresh private stack.

Both rounds go the whole way: HTTP api, durable queue, scheduler, two workers with engines.
What differs is the policy alone, so what differs in the figures is its work.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from preble.client import Job, PrebleClient
from preble.config import PolicyName, Settings
from preble.demo.engines import flush_engines
from preble.demo.figures import RoundFigures, round_figures
from preble.demo.progress import progress_of
from preble.demo.prompts import Prompt, load_prompts
from preble.demo.report import (
    introduce,
    save_figures,
    show_answers,
    show_failure,
    show_figures,
)
from preble.demo.round import run_round
from preble.serve.private import private_stack

__all__ = ["DEMO_DEFAULTS", "run_demo"]

DEMO_DEFAULTS: Final = {
    "PREBLE_CONTEXT_LENGTH": "4096",
    # All prefixes together are larger than one instance's KV cache, as they are in earnest;
    # two instances together can hold them.
    "PREBLE_KV_CAPACITY_TOKENS": "14336",
}
"""Environment that the demo begins with; the user's own and the flags come on top."""

_POLICIES: Final[tuple[PolicyName, ...]] = ("round_robin", "e2")
_RETRY_FOR_S: Final = 15.0


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
    prompts = load_prompts()
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
    console.print(f"{policy:<12} starting api, scheduler, workers and Valkey")
    flush_engines(settings)
    settings = msgspec.structs.replace(settings, policy=policy)
    with (
        private_stack(settings) as stack,
        PrebleClient(stack.url, api_key=settings.api_key, retry_for_s=_RETRY_FOR_S) as client,
        progress_of(console, policy, len(prompts)) as on_progress,
    ):
        return run_round(client, [prompt.job for prompt in prompts], on_progress)
