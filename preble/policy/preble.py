"""`preble`: the default policy. A job goes where it makes all jobs wait least.

Every term is seconds of waiting that the placement causes, this job's own and that of others:

    cost =  backlog                  it waits for the prefills placed there before
         +  output * (step + drag)   it decodes: for each token a step of all jobs there, which its
                                     context makes longer for each of them
         +  P                        its prompt is computed
         +  p (n + 2) / (1 - s) / (1 - a)
                                     meanwhile n jobs there stand still, and so do two that come;
                                     other prefills draw that out, and what it brings in evicts
                                     what will be computed again
         +  4 * wait for KV memory   nothing that comes meanwhile starts before it

    P       seconds to prefill what it misses there
    p       the same, at most 5 s: to spare others, a very long prompt would wait without end
            where other such prompts are
    n       jobs placed there that have not ended, at most the engine's slots
    s       share of the instances' time that went to prefills in the window, at most a half
    a       share of these prefills that computed again what all instances had evicted, at most a
            half. As many blocks come in as are evicted, so that a of the evicted ones come back,
            evict others, of which a come back: 1 + a + a² + ... = 1 / (1 - a)
    output  mean tokens of the outputs in the window
    wait    until jobs that are there have ended and left it the KV memory that it lacks: the mean
            stay of a job in the window, times what it lacks as a share of what they hold; at
            least until the first of them ends

What each term brings stands in docs/explanation/placement.md; `Weights` has the numbers. The form
is the marginal cost of a placement, as in the study that this policy began with; s, a, drag and
KV memory are new.
"""

from functools import partial
from typing import Final

import msgspec
import numpy as np

from preble.policy.choice import Choice, Options, Rule, cheapest


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """What the terms of the formula are multiplied by; 0 leaves one out.

    Args:
        backlog: Of what the job waits for.
        decode: Of how long it decodes.
        drag: Of how much longer others decode.
        beside: Of the jobs that stand still meanwhile, n.
        to_come: Of them that come meanwhile.
        most_prefill_s: Of a prefill, what counts for others.
        most_share: The most that `s` counts: 0 leaves it out.
        most_recompute: The most that `a` counts: 0 leaves it out.
        memory: Jobs that come while memory is waited for.
    """

    backlog: float = 1.0
    decode: float = 1.0
    drag: float = 1.0
    beside: float = 1.0
    to_come: float = 2.0
    most_prefill_s: float = 5.0
    most_share: float = 0.5
    most_recompute: float = 0.5
    memory: float = 4.0


DEFAULT: Final = Weights()
"""Those of the formula above."""


def least_delay(weights: Weights = DEFAULT) -> Rule:
    """The rule. Cost: O(instances), and the path where KV memory is short."""
    return Rule("preble", partial(_choose, weights))


def _choose(weights: Weights, options: Options) -> Choice:
    fleet, history = options.fleet, options.fleet.history
    token_s = weights.decode * fleet.decode_step_s(options.prompt_tokens)
    token_s += weights.drag * fleet.decode_drag_s(options.prompt_tokens)
    share = min(history.prefill_share(options.now_s), weights.most_share)
    again = min(history.recompute_share, weights.most_recompute)
    delayed = (weights.beside * fleet.running + weights.to_come) / (1 - share) / (1 - again)
    delay_s = np.minimum(options.prefill_s, weights.most_prefill_s) * delayed
    cost = weights.backlog * fleet.backlog_s + history.mean_output_tokens * token_s
    cost += options.prefill_s + delay_s
    shortage = fleet.kv_shortage(options.match, options.prompt_tokens)
    if shortage is not None:
        first_end = (shortage > 0) / np.maximum(options.outstanding, 1)
        cost += weights.memory * history.mean_stay_s * np.maximum(shortage, first_end)
    return Choice(cheapest(cost, options.outstanding), "least_delay", cost)
