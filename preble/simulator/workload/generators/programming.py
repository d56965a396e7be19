"""Programming: a long instruction shared by all, a problem, several solutions of each."""

from typing import Final

import numpy as np

from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.draw import (
    even_lengths,
    group_count,
    lengths,
    shuffled,
    zipf_weights,
)
from preble.simulator.workload.generators.assemble import bodies, to_workload
from preble.simulator.workload.prefix import root
from preble.simulator.workload.request import Workload

_SYSTEM_TOKENS: Final = 2800
_PROBLEM_TOKENS: Final = (1071.0, 1700.0)
_OUTPUT_TOKENS: Final = (190.0, 343.0)
_SOLUTIONS: Final = 9.0


def programming(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
) -> Workload:
    """Problems of which several solutions are sampled from the same prompt.

    The key portion is the instruction for most requests and the problem where that is longer.
    So the number of requests that share a key portion grows with the workload: the instruction
    has all of them, each long problem a few. Table 1's 126 with deviation 2157 come out at about
    45,000 requests to 5,000 problems, the number in the data set.

    Groups are problems, by default as many as give 9 solutions each.

    Source: Preble, Table 1. Differs from the released generator, which caps outputs at 512
    tokens: a mean of 190 with deviation 343 is impossible under that cap.
    """
    rng = np.random.default_rng(seed)
    num_problems = group_count(num_requests, num_groups, _SOLUTIONS)
    system = root("programming", block_size).extend("system", _SYSTEM_TOKENS)
    problems = bodies(system, "problem", even_lengths(rng, num_problems, *_PROBLEM_TOKENS))
    groups = shuffled(rng, zipf_weights(num_problems, 0), num_requests)
    indexes: list[int] = groups.tolist()
    return to_workload(
        "programming",
        block_size,
        (problems[group] for group in indexes),
        groups,
        lengths(rng, num_requests, *_OUTPUT_TOKENS),
        poisson(rng, num_requests, rps),
    )
