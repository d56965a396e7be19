"""`preble`: the default policy. A job goes where it makes all jobs wait least.

Every term is seconds of waiting that the placement causes, this job's own and that of others:

    cost =  backlog                  it waits for the prefills placed there before
         +  output * step            it decodes: a step of all jobs there, for each token
         +  2 P * (n + 4)            while its prompt is computed, n jobs there stand still, and so
                                     do 4 that come meanwhile; twice, for what it evicts will be
                                     computed again
         +  4 * wait for KV memory   nothing that comes meanwhile starts before it

    P       seconds to prefill what it misses there
    n       jobs placed there that have not ended, at most the engine's slots
    output  mean tokens of the outputs in the window
    wait    until jobs that are there have ended and left it the KV memory that it lacks: the mean
            stay of a job in the window, times what it lacks as a share of what they hold; at
            least until the first of them ends

What each term brings, and over which range its weight is flat, stands in
docs/explanation/placement.md. The first version of the formula: marginal cost of a placement,
as in the study that this policy began with; new are the weight 2, and KV memory.
"""

from typing import Final

import numpy as np

from preble.policy.choice import Choice, Options, Rule, cheapest

JOBS_TO_COME: Final = 4.0
"""That come while a prefill runs, or while memory is waited for. Flat from 2 to 8."""

RECOMPUTE: Final = 2.0
"""Prefill that one second of it leads to: itself, and as much for what it evicts. Flat from
1.5 to 3."""


def least_delay() -> Rule:
    """The rule. Cost: O(instances), and the path where KV memory is short."""
    return Rule("preble", _choose)


def _choose(options: Options) -> Choice:
    fleet = options.fleet
    decode_s = fleet.history.mean_output_tokens * fleet.decode_step_s(options.prompt_tokens)
    beside = np.minimum(options.outstanding, fleet.slots) + JOBS_TO_COME
    cost = fleet.backlog_s + decode_s + RECOMPUTE * options.prefill_s * beside
    shortage = fleet.kv_shortage(options.match, options.prompt_tokens)
    if shortage is not None:
        first_end = (shortage > 0) / np.maximum(options.outstanding, 1)
        cost += JOBS_TO_COME * fleet.history.mean_stay_s * np.maximum(shortage, first_end)
    return Choice(cheapest(cost, options.outstanding), "least_delay", cost)
