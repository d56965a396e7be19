"""`preble jobs explain`: why jobs went where they went, and what was reused of their prompts."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from preble.cli import jobs, options
from preble.explanation import Explanation, HitTokens
from preble.messages import Candidate

_COLUMNS: Final = "{:<2}{:<16}  {:>6}  {:>8}  {:>9}  {:>10}  {:>4}  {:>9}"
_HEAD: Final = ("", "INSTANCE", "HITS", "LOAD S", "PREFILL S", "EVICTION S", "JOBS", "COST")
_WINNER: Final = "*"


def explain(
    *, job_ids: jobs.JobIds, output: options.Output = "text", url: options.Url = None
) -> None:
    """Print why jobs went where they went: the candidates, the winner, the tokens reused.

    Of a job that is not placed: what it waits for.
    """
    with jobs.connected(url) as client:
        for number, job_id in enumerate(jobs.read_ids(job_ids)):
            told = client.explain(job_id)
            if output == "json":
                jobs.print_line(msgspec.json.encode(told))
            else:
                jobs.print_line("\n".join(["", *lines_of(told)] if number else lines_of(told)))


def lines_of(told: Explanation) -> Sequence[str]:
    """An explanation for people."""
    facts = {
        "id": told.id,
        "status": told.status.value,
        "verdict": f"{told.verdict}: {told.summary}",
        "instance": told.instance,
        "reason": told.policy and f"{told.policy}: {told.reason}",
        "hits": told.hit_tokens and _hits(told.hit_tokens, told.prompt_tokens),
    }
    known = [f"{name:<9} {fact}" for name, fact in facts.items() if fact is not None]
    return [*known, *_table(told)]


def _hits(tokens: HitTokens, prompt_tokens: int) -> str:
    stages = {
        "available": tokens.available,
        "predicted": f"{tokens.predicted} ({tokens.expected} of them expected)",
        "at start": tokens.at_start,
        "delivered": tokens.delivered,
    }
    told = ", ".join(f"{number} {stage}" for stage, number in stages.items() if number is not None)
    return f"of {prompt_tokens} prompt tokens: {told}"


def _table(told: Explanation) -> Iterator[str]:
    if told.candidates:
        yield ""
        yield _COLUMNS.format(*_HEAD)
    for each in told.candidates:
        mark = _WINNER if each.instance_id == told.instance else ""
        yield _row(mark, each).rstrip()


def _row(mark: str, each: Candidate) -> str:
    seconds = (f"{value:.3f}" for value in (each.load_s, each.prefill_s, each.eviction_s))
    cost = "" if each.cost is None else f"{each.cost:.4g}"
    return _COLUMNS.format(
        mark, each.instance_id, each.hit_tokens, *seconds, each.outstanding, cost
    )
