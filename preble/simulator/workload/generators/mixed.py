"""Tool use and video questions at once, in bursts: the paper's Azure experiment."""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Final

import msgspec
import numpy as np

from preble.errors import ConfigError
from preble.simulator.workload.arrivals import bursty
from preble.simulator.workload.draw import Floats, group_count
from preble.simulator.workload.generators.documents import video
from preble.simulator.workload.generators.toolbench import toolbench
from preble.simulator.workload.request import TimedRequest, Workload

_VIDEO_REQUESTS: Final = 0.2
_VIDEO_GROUPS: Final = 150 / 350
_REQUESTS_IN_GROUP: Final = 4500 / 350


def mixed(
    *,
    seed: int,
    num_requests: int,
    rps: float,
    num_groups: int | None = None,
    block_size: int = 64,
    at_s: Sequence[float] | None = None,
) -> Workload:
    """Four requests to tools, evenly popular, for each question about a video.

    Groups are tools and videos, 4 to 3, by default one for every 13 requests. Arrivals are those
    in `at_s`, ascending seconds, such as a trace's; if there are none, bursts drawn at `rps`.

    Raises:
        ConfigError: If sizes or rate make no workload, or arrivals and requests differ in number.

    Source: Preble, figure 4: 3,600 requests to 200 tools and 900 to 150 videos for each pair of
    GPUs, at the arrival times of the Azure conversation trace.
    """
    rng = np.random.default_rng(seed)
    if num_requests < 2 or (num_groups is not None and num_groups < 2):  # noqa: PLR2004 - a kind each
        raise ConfigError("mixed has two kinds: ask for at least 2 requests and 2 groups.")
    num_videos = max(1, round(_VIDEO_REQUESTS * num_requests))
    groups = max(2, group_count(num_requests, num_groups, _REQUESTS_IN_GROUP))
    video_groups = min(max(1, round(_VIDEO_GROUPS * groups)), num_videos)
    videos = video(
        seed=seed, num_requests=num_videos, rps=rps, num_groups=video_groups, block_size=block_size
    )
    tools = toolbench(
        seed=seed,
        num_requests=num_requests - num_videos,
        rps=rps,
        num_groups=groups - video_groups,
        block_size=block_size,
        zipf_a=0.0,
    )
    arrivals = bursty(rng, num_requests, rps) if at_s is None else _given(at_s, num_requests)
    return Workload("mixed", block_size, _interleave(rng, videos, tools, arrivals))


def _given(at_s: Sequence[float], num_requests: int) -> Floats:
    times = np.array(at_s)
    if len(times) != num_requests or np.any(np.diff(times) < 0):
        raise ConfigError(f"mixed needs {num_requests} ascending arrival times, one a request.")
    return times


def _interleave(
    rng: np.random.Generator, first: Workload, second: Workload, at_s: Floats
) -> tuple[TimedRequest, ...]:
    """Both workloads' requests in random turn, each in its own order."""
    sources = (iter(first.requests), iter(second.requests))
    turns = chain(repeat(0, len(first.requests)), repeat(1, len(second.requests)))
    order: list[int] = rng.permutation(np.fromiter(turns, np.int64)).tolist()
    return tuple(
        msgspec.structs.replace(next(sources[turn]), at_s=arrival_s)
        for turn, arrival_s in zip(order, at_s.tolist(), strict=True)
    )
