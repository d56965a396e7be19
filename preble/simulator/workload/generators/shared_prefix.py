"""The micro workload: groups that share a prefix of one length."""

from typing import Final

import numpy as np

from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.draw import group_count, shuffled, zipf_weights
from preble.simulator.workload.generators.assemble import bodies, with_questions
from preble.simulator.workload.prefix import root
from preble.simulator.workload.request import Workload

_REQUESTS_IN_GROUP: Final = 50.0


def shared_prefix(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
    prefix_tokens: int = 2048,
    unique_tokens: int = 256,
    output_tokens: int = 64,
    zipf_a: float = 0.0,
) -> Workload:
    """Requests of equal size: a prefix shared by the group, then tokens of their own.

    By default groups are as many as give 50 requests each. Their popularity is Zipf with exponent
    `zipf_a`; 0 gives each equally many requests.
    """
    rng = np.random.default_rng(seed)
    count = group_count(num_requests, num_groups, _REQUESTS_IN_GROUP)
    return with_questions(
        "shared_prefix",
        bodies(root("shared_prefix", block_size), "prefix", np.full(count, prefix_tokens)),
        shuffled(rng, zipf_weights(count, zipf_a), num_requests),
        np.full(num_requests, unique_tokens),
        np.full(num_requests, output_tokens),
        poisson(rng, num_requests, rps),
    )
