"""Whether two sides put the same things in the same order."""

from collections.abc import Mapping
from itertools import combinations

import msgspec


class Ranking(msgspec.Struct, frozen=True):
    """Two orders of the same names, the lowest value first."""

    real: tuple[str, ...]
    simulated: tuple[str, ...]
    discordant: tuple[tuple[str, str], ...]
    """Pairs that the two sides order differently."""
    kendall_distance: int
    """How many such pairs there are: 0 if the orders are the same."""


def rank(real: Mapping[str, float], simulated: Mapping[str, float]) -> Ranking:
    """Order the same names by their values on both sides; a tie is discordant with nothing."""
    discordant = tuple(
        (one, other)
        for one, other in combinations(sorted(real, key=real.__getitem__), 2)
        if real[one] < real[other] and simulated[one] > simulated[other]
    )
    return Ranking(
        real=tuple(sorted(real, key=real.__getitem__)),
        simulated=tuple(sorted(simulated, key=simulated.__getitem__)),
        discordant=discordant, kendall_distance=len(discordant),
    )  # fmt: skip
