"""ToolBench: one instruction, a tool's description, a question."""

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
from preble.simulator.workload.generators.assemble import bodies, with_questions
from preble.simulator.workload.prefix import root
from preble.simulator.workload.request import Workload

TABLE_1_ZIPF: Final = 0.75
"""With 200 tools this spreads the requests of a tool as Table 1 does: 39 with deviation 64."""

_SYSTEM_TOKENS: Final = 70
_TOOL_TOKENS: Final = (1560.0, 750.0)
_QUESTION_TOKENS: Final = (205.0, 90.0)
_OUTPUT_TOKENS: Final = (43.0, 16.0)
_TWINS: Final = 0.25
_REQUESTS_OF_TOOL: Final = 39.0


def toolbench(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
    zipf_a: float = TABLE_1_ZIPF,
) -> Workload:
    """Questions to tools whose descriptions are long and shared.

    One tool in four stands in a list with a neighbour and shares its beginning. Groups are tools,
    by default as many as give 39 requests each. Their popularity is Zipf with exponent `zipf_a`;
    0 gives each equally many requests.

    Source: Preble, Table 1; the released generator draws tools evenly, or by Zipf 1.1.
    Differs: lengths are drawn, not taken from the data set.
    """
    rng = np.random.default_rng(seed)
    num_tools = group_count(num_requests, num_groups, _REQUESTS_OF_TOOL)
    tools = bodies(
        root("toolbench", block_size).extend("system", _SYSTEM_TOKENS),
        "tool",
        even_lengths(rng, num_tools, *_TOOL_TOKENS),
        twins=_TWINS,
    )
    return with_questions(
        "toolbench",
        tools,
        shuffled(rng, zipf_weights(num_tools, zipf_a), num_requests),
        lengths(rng, num_requests, *_QUESTION_TOKENS),
        lengths(rng, num_requests, *_OUTPUT_TOKENS),
        poisson(rng, num_requests, rps),
    )
