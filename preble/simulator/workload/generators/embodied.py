"""Embodied agents: conversations with an environment, each turn on top of the one before."""

from typing import Final

import numpy as np

from preble.simulator.workload.arrivals import poisson
from preble.simulator.workload.draw import (
    even_lengths,
    group_count,
    lengths,
    shuffled,
)
from preble.simulator.workload.generators.assemble import bodies, conversations, to_workload
from preble.simulator.workload.prefix import root
from preble.simulator.workload.request import Workload

_SCENE_TOKENS: Final = (1705.0, 320.0)
_TURNS: Final = (48.0, 8.0)
_OBSERVATION_TOKENS: Final = 8
_OUTPUT_TOKENS: Final = (16.0, 13.0)


def embodied(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
) -> Workload:
    """Agents that act turn by turn, each in an environment of its own.

    A turn's prompt is the one before it, its output and an observation. Turns of one environment
    arrive in order. They are not held back until the turn before has ended: at overload a turn
    can arrive early, as in any open loop.

    Groups are environments, by default as many as give 48 turns each.

    Source: Preble, Table 1; arrivals as in the released generator, where each conversation has
    `rps / num_groups`.
    """
    rng = np.random.default_rng(seed)
    num_scenes = group_count(num_requests, num_groups, _TURNS[0])
    scenes = bodies(
        root("embodied", block_size), "scene", even_lengths(rng, num_scenes, *_SCENE_TOKENS)
    )
    turns = rng.permutation(even_lengths(rng, num_scenes, *_TURNS))
    groups = shuffled(rng, turns, num_requests)
    outputs = lengths(rng, num_requests, *_OUTPUT_TOKENS)
    prompts = conversations(scenes, groups, outputs + _OBSERVATION_TOKENS)
    at_s = poisson(rng, num_requests, rps)
    return to_workload("embodied", block_size, prompts, groups, outputs, at_s)
