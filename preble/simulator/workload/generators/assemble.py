"""From drawn groups, lengths and arrivals to a workload."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preble.simulator.workload.draw import Floats, Ints, occurrence
from preble.simulator.workload.prefix import Prefix
from preble.simulator.workload.request import TimedRequest, Workload

_COMMON_SHARE: Final = 0.45
"""What two twins have in common: less than half, so that the rest is still a key portion."""


def bodies(parent: Prefix, label: str, tokens: Ints, *, twins: float = 0.0) -> list[Prefix]:
    """One prefix for each group, of so many tokens after `parent`.

    `twins` of the groups, a share, have the beginning of their tokens in common with a neighbour.
    Real groups are not all disjoint: the key portion in Table 1 spreads far more than lengths
    explain.
    """
    names = [f"{label}/{index}" for index in range(len(tokens))]
    grown = [parent.extend(name, size) for name, size in zip(names, tokens.tolist(), strict=True)]
    period = round(2 / twins) if twins else len(names) + 1
    for second in range(period - 1, len(names), period):
        pair = slice(second - 1, second + 1)
        common_tokens = int(_COMMON_SHARE * tokens[pair].min())
        common = parent.extend(f"{label}/{second - 1}+{second}", common_tokens)
        rest = (tokens[pair] - common_tokens).tolist()
        grown[pair] = [common.extend(*one) for one in zip(names[pair], rest, strict=True)]
    return grown


def with_questions(
    name: str,
    shared: Sequence[Prefix],
    groups: Ints,
    unique_tokens: Ints,
    output_tokens: Ints,
    at_s: Floats,
) -> Workload:
    """Requests that add tokens of their own to their group's prefix.

    `shared` is one prefix for each group; `groups` is an index into it for each request.
    """
    indexes: list[int] = groups.tolist()
    prompts = (
        shared[group].extend(f"unique/{index}", tokens)
        for index, (group, tokens) in enumerate(zip(indexes, unique_tokens.tolist(), strict=True))
    )
    return to_workload(name, shared[0].block_size, prompts, groups, output_tokens, at_s)


def conversations(openings: Sequence[Prefix], groups: Ints, added_tokens: Ints) -> list[Prefix]:
    """The prompt of each turn: that of the turn before, and what was added since.

    Args:
        openings: The first prompt of each group.
        groups: Whose turn each request is.
        added_tokens: What each request adds to its group's next prompt.
    """
    latest = list(openings)
    prompts: list[Prefix] = []
    indexes: list[int] = groups.tolist()
    turns = zip(indexes, occurrence(groups).tolist(), added_tokens.tolist(), strict=True)
    for group, turn, added in turns:
        prompts.append(latest[group])
        latest[group] = latest[group].extend(f"turn/{group}/{turn}", added)
    return prompts


def to_workload(
    name: str,
    block_size: int,
    prompts: Iterable[Prefix],
    groups: Ints,
    output_tokens: Ints,
    at_s: NDArray[np.float64],
) -> Workload:
    """Requests from their parts, all in order of arrival."""
    parts = zip(prompts, groups.tolist(), output_tokens.tolist(), at_s.tolist(), strict=True)
    return Workload(
        name,
        block_size,
        tuple(
            TimedRequest(
                at_s=arrival_s,
                prompt_tokens=prompt.tokens,
                output_tokens=output,
                block_keys=prompt.block_keys,
                group=f"{name}/{group}",
                tenant=name,
            )
            for prompt, group, output, arrival_s in parts
        ),
    )
