"""Formulas of other routers, on what the scheduler knows.

Each has its origin's defaults. They are judged at their best: where a router guesses what an
instance holds from the prompts it sent there, its formula here reads what the instance holds
and what is under way there. Ties that a router breaks by chance go to the lower id.

The two with state of their own are `consistent_hash` and `aibrix_preble`.
"""

from typing import Final

import numpy as np

from preble.history import Column
from preble.policy.choice import Choice, Options, Rule, cheapest

MATCH_RATE: Final = 0.3
"""Part of the prompt that must be held before a cache counts: SGLang's and SMG's default."""

BALANCE_JOBS: Final = 64
BALANCE_RATIO: Final = 1.5
"""Both must be exceeded before load counts more than caches: SGLang's and SMG's defaults."""

SMG_LEAST_MARGIN_JOBS: Final = 4
SMG_TOKENS_PER_S: Final = 2000.0
SMG_KV_PRESSURE_S: Final = 0.15
_SMG_MOST_KV_SHARE: Final = 0.999

DYNAMO_PREFILL_LOAD_SCALE: Final = 1.0


def longest_prefix() -> Rule:
    """Where most of the prompt is held; among equals, where the fewest jobs are outstanding.

    cost = missed tokens

    What is left of cache-aware routing without any load: one hot prefix fills one instance.
    """

    def choose(options: Options) -> Choice:
        cost = options.miss_tokens
        return Choice(cheapest(cost, options.outstanding), "longest_prefix", cost)

    return Rule("longest_prefix", choose)


def lmetric() -> Rule:
    """Missed tokens times the jobs that would then be there.

    cost = missed tokens * (outstanding + 1)

    Source: sgl-router's `lmetric`, which counts characters. There a prompt held whole costs
    nothing under any load; here it does not, for an engine computes at least the last token.
    """

    def choose(options: Options) -> Choice:
        cost = options.miss_tokens * (options.outstanding + 1)
        return Choice(cheapest(cost, options.outstanding), "least_product", cost)

    return Rule("lmetric", choose)


def sglang_cache_aware() -> Rule:
    """One gate for the whole fleet, then the longest match, else the fewest jobs.

    1. max - min > 64 and max > 1.5 * min of the jobs outstanding: the fewest jobs, whatever
       is held anywhere.
    2. held > 0.3 of the prompt: the instance that holds most.
    3. Else the fewest jobs.

    Source: sglang-router 0.3.2, `cache_aware`. Differs: it matches characters in a tree of the
    prompts it routed, evicted by size; here what is held and under way is known. What it
    takes on a miss was seen on the real one (docs/explanation/peers.md). Of several that hold
    most it names one without looking at load, and so does this: the lowest id.
    """

    def choose(options: Options) -> Choice:
        jobs = options.outstanding
        most, least = jobs.max(), jobs.min()
        if most - least > BALANCE_JOBS and most > BALANCE_RATIO * least:
            return Choice(cheapest(jobs, jobs), "fleet_imbalanced", jobs)
        if _is_match(options):
            return Choice(int(options.hit_tokens.argmax()), "longest_prefix")
        return Choice(cheapest(jobs, jobs), "fewest_jobs", jobs)

    return Rule("sglang_cache_aware", choose)


def smg() -> Rule:
    """The longest match, unless *that* instance has far more jobs than the mean.

    1. held <= 0.3 of the prompt everywhere: the least expected wait.
    2. The instance that holds most, of equals one by the prompt's end, is taken if
       jobs <= 1.5 * mean or jobs <= mean + margin.
    3. Else it spills: the least expected wait.

    margin = max(4, 2 * sqrt(mean))
    expected wait = backlog tokens / 2000 + 0.15 * k / (1 - k), in seconds; k is the used part
    of the KV cache

    Source: smg 1.13, `cache_aware` and `least_load`. Differs: its margin of 64 is capped by
    "two standard deviations" of the jobs in flight, read here as those of a Poisson count; the
    64 themselves never matter then, for from a mean of 16 on the ratio does. Backlog and k are
    what the scheduler counts (k from the prompts of the outstanding jobs, at most 0.999), not
    the engines' last report. Left out: what is off by default (overlap decay, temperature), and
    the warm-up share of new workers.
    """

    def choose(options: Options) -> Choice:
        if not _is_match(options):
            return _least_wait(options, "least_wait")
        row = _any_of_the_best(options)
        if _is_above_mean(options.outstanding, row):
            return _least_wait(options, "spill")
        return Choice(row, "longest_prefix")

    return Rule("smg", choose)


def dynamo_kv() -> Rule:
    """Blocks to prefill, with those queued there, plus blocks that decode reads there.

    cost = 1.0 * (backlog + prompt - hit tokens) / block + active blocks

    Backlog and hits are tokens there. Active blocks are the distinct blocks of the jobs there
    and of this one.

    Source: Dynamo's KV router with its defaults: device credit 1.0 without decay, temperature
    0, no weight on active requests. Differs: blocks to prefill are fractions, and nobody holds
    more than the prompt, so that its max(0, ...) is not needed. There are no host and disk
    tiers.
    """

    def choose(options: Options) -> Choice:
        fleet = options.fleet
        prefill_tokens = fleet.backlog_tokens + options.miss_tokens
        active_tokens = fleet.pinned_tokens + fleet.unshared_tokens(
            options.match, options.prompt_tokens
        )
        cost = (DYNAMO_PREFILL_LOAD_SCALE * prefill_tokens + active_tokens) / fleet.block_size
        return Choice(cheapest(cost, options.outstanding), "least_blocks", cost)

    return Rule("dynamo_kv", choose)


def _any_of_the_best(options: Options) -> int:
    """One of those that hold most, whatever their load; the same for the same prompt."""
    (rows,) = (options.hit_tokens == max(options.hits)).nonzero()
    return int(rows[(options.keys[-1] if options.keys else 0) % len(rows)])


def _is_match(options: Options) -> bool:
    return max(options.hits) > MATCH_RATE * options.prompt_tokens


def _is_above_mean(jobs: Column, row: int) -> bool:
    mean = float(jobs.mean())
    margin = max(SMG_LEAST_MARGIN_JOBS, 2 * mean**0.5)
    return bool(jobs[row] > max(BALANCE_RATIO * mean, mean + margin))


def _least_wait(options: Options, reason: str) -> Choice:
    fleet = options.fleet
    capacity_tokens = np.array([each.record.kv_capacity_tokens for each in fleet.rows])
    kv_share = np.clip(fleet.context_tokens / np.maximum(capacity_tokens, 1), 0, _SMG_MOST_KV_SHARE)
    wait_s = fleet.backlog_tokens / SMG_TOKENS_PER_S
    cost: Column = wait_s + SMG_KV_PRESSURE_S * kv_share / (1 - kv_share)
    return Choice(cheapest(cost, options.outstanding), reason, cost)
