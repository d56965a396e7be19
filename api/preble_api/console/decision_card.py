"""The decision card: what was weighed for a job, and what other rules would have cost. Pure.

    computed       P + M: seconds that the instance takes for prefill of what the job misses there,
                   and that others lose by the room it needs; what a choice can save
    least load     the candidate of least L, of several that with the fewest jobs, then the first
    round robin    any candidate, each as likely as another: the mean of them all

Both are of this job alone, on caches as they were: had all jobs been placed so, caches and loads
would be others. The record has 16 candidates at most, those of least cost, so with more instances
the mean flatters round robin.
"""

from collections.abc import Sequence
from statistics import fmean

import msgspec

from preble.explanation import Explanation
from preble.messages import Candidate


class CandidateRow(msgspec.Struct, frozen=True):
    """A candidate, and how its figures compare."""

    candidate: Candidate
    is_winner: bool
    computed_s: float
    bar: float
    """Of the greatest `computed_s`, 0..1."""


class Alternative(msgspec.Struct, frozen=True):
    """What a rule would have done with the job."""

    rule: str
    instance: str
    hit_tokens: float
    computed_s: float
    saved_s: float
    """By the choice that was made; negative if the rule would have computed less."""
    load_s: float


class HitBar(msgspec.Struct, frozen=True):
    """Tokens that need not be computed, as one of the four saw it."""

    name: str
    tokens: int
    share: float
    """Of the prompt."""
    meaning: str


class Card(msgspec.Struct, frozen=True):
    """All of it."""

    rows: list[CandidateRow]
    alternatives: list[Alternative]
    hits: list[HitBar]


def card_of(told: Explanation) -> Card | None:
    """The card of a job that is placed; None before."""
    if told.hit_tokens is None:
        return None
    return Card(_rows(told), alternatives_of(told.candidates, told.instance or ""), _hits(told))


def computed_s(candidate: Candidate) -> float:
    """P + M."""
    return candidate.prefill_s + candidate.eviction_s


def alternatives_of(candidates: Sequence[Candidate], winner: str) -> list[Alternative]:
    """The choice, and what least load and round robin would have cost; none without a record."""
    chosen = next((each for each in candidates if each.instance_id == winner), None)
    if chosen is None:
        return []
    least = min(candidates, key=lambda each: (each.load_s, each.outstanding))
    mean = Alternative(
        "round robin", f"any of {len(candidates)}",
        fmean(each.hit_tokens for each in candidates), fmean(map(computed_s, candidates)),
        fmean(map(computed_s, candidates)) - computed_s(chosen),
        fmean(each.load_s for each in candidates),
    )  # fmt: skip
    return [_one("this choice", chosen, chosen), _one("least load", least, chosen), mean]


def _one(rule: str, each: Candidate, chosen: Candidate) -> Alternative:
    return Alternative(
        rule, each.instance_id, each.hit_tokens, computed_s(each),
        computed_s(each) - computed_s(chosen), each.load_s,
    )  # fmt: skip


def _rows(told: Explanation) -> list[CandidateRow]:
    most_s = max((computed_s(each) for each in told.candidates), default=0.0)
    return [
        CandidateRow(
            each, each.instance_id == told.instance, computed_s(each),
            computed_s(each) / most_s if most_s else 0.0,
        )
        for each in told.candidates
    ]  # fmt: skip


def _hits(told: Explanation) -> list[HitBar]:
    hits = told.hit_tokens
    if hits is None:
        return []
    seen = (
        ("available", hits.available, "on the instance that held most, when it was placed"),
        ("predicted", hits.predicted, f"on the chosen one, {hits.expected} of them expected"),
        ("at start", hits.at_start, "by the worker, as the job began"),
        ("delivered", hits.delivered, "by the engine, from its KV cache"),
    )
    return [
        HitBar(name, tokens, min(1.0, tokens / max(told.prompt_tokens, 1)), meaning)
        for name, tokens, meaning in seen
        if tokens is not None
    ]
