"""Workloads: helpers that change them, prefixes that name them, statistics that describe them."""

from collections import Counter
from itertools import pairwise, takewhile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preble.errors import ConfigError
from preble.messages import pack_keys, unpack_keys
from preble.simulator.workload import (
    TimedRequest,
    Workload,
    as_batch,
    by_prefix_order,
    create_workload,
    describe,
    head,
    thin,
    with_burst,
    with_load,
)
from preble.simulator.workload.arrivals import bursty, poisson
from preble.simulator.workload.prefix import Prefix, root

BLOCK = 4


def _request(prompt: Prefix, *, at_s: float = 0.0, group: str = "") -> TimedRequest:
    return TimedRequest(at_s, prompt.tokens, 1, prompt.block_keys, group)


def _workload(*requests: TimedRequest) -> Workload:
    return Workload("test", BLOCK, requests)


def _timed(*at_s: float) -> Workload:
    empty = root("test", BLOCK)
    return _workload(*(_request(empty.extend(str(one), 8), at_s=one) for one in at_s))


def test_a_workload_runs_at_the_load_asked_for_in_its_own_rhythm() -> None:
    loaded = with_load(_timed(1.0, 2.0, 5.0), 4.0)

    assert loaded.rps == pytest.approx(4.0)
    assert [one.at_s for one in loaded.requests] == pytest.approx([0.125, 0.25, 0.625])


@pytest.mark.parametrize("rps", [0.0, -1.0, float("nan")])
def test_a_load_must_be_positive(rps: float) -> None:
    with pytest.raises(ConfigError, match="above 0"):
        with_load(_timed(1.0, 2.0), rps)


def test_requests_that_arrive_at_once_have_no_rate_to_change() -> None:
    with pytest.raises(ConfigError, match="at once"):
        with_load(_timed(1.0, 1.0), 2.0)


def test_thinning_keeps_groups_whole_and_in_order() -> None:
    whole = create_workload("video", seed=1, num_requests=200, rps=1.0)
    thinned = thin(whole, 0.25, seed=3)

    sizes = Counter(one.group for one in whole.requests)
    kept = Counter(one.group for one in thinned.requests)
    assert kept.items() <= sizes.items()
    assert len(kept) == round(len(sizes) / 4)
    assert list(thinned.requests) == [one for one in whole.requests if one.group in kept]


def test_thinning_draws_by_seed() -> None:
    whole = create_workload("video", seed=1, num_requests=200, rps=1.0)

    assert thin(whole, 0.25, seed=3) == thin(whole, 0.25, seed=3)
    assert thin(whole, 0.25, seed=3) != thin(whole, 0.25, seed=4)


def test_requests_without_a_group_are_thinned_one_by_one() -> None:
    assert len(thin(_timed(*range(10)), 0.5, seed=0).requests) == 5


@pytest.mark.parametrize("fraction", [0.0, 1.1])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"\(0, 1\]"):
        thin(_timed(1.0), fraction, seed=0)


def test_head_takes_the_first_requests() -> None:
    assert head(_timed(1.0, 2.0, 3.0), 2) == _timed(1.0, 2.0)


def test_a_batch_comes_at_once_in_another_order() -> None:
    whole = create_workload("toolbench", seed=1, num_requests=100, rps=1.0)
    batch = as_batch(whole, seed=1)

    assert {(one.at_s, one.priority) for one in batch.requests} == {(0.0, "batch")}
    keys = [one.block_keys for one in whole.requests]
    assert sorted(one.block_keys for one in batch.requests) == sorted(keys)
    assert [one.block_keys for one in batch.requests] != keys
    assert batch == as_batch(whole, seed=1) != as_batch(whole, seed=2)


def test_a_sorted_batch_has_what_begins_alike_in_a_row() -> None:
    batch = as_batch(create_workload("video", seed=1, num_requests=100, rps=1.0), seed=1)
    groups = [one.group for one in by_prefix_order(batch).requests]

    changes = sum(one != other for one, other in pairwise(groups))
    assert changes == len(set(groups)) - 1
    assert Counter(groups) == Counter(one.group for one in batch.requests)


def test_what_comes_one_by_one_keeps_its_order() -> None:
    with pytest.raises(ConfigError, match="one by one"):
        by_prefix_order(_timed(0.0, 1.0))


def test_a_burst_is_denser_and_what_follows_comes_earlier() -> None:
    """Twice the rate for 2 s from second 4 on: what was drawn for 4..8 comes in 4..6."""
    burst = with_burst(_timed(*range(12)), start_s=4, duration_s=2, factor=2)

    times = [one.at_s for one in burst.requests]
    assert times == [0, 1, 2, 3, 4, 4.5, 5, 5.5, 6, 7, 8, 9]


def test_a_lull_is_a_burst_below_1() -> None:
    lull = with_burst(_timed(0, 1, 2, 3, 4), start_s=1, duration_s=4, factor=0.5)

    assert [one.at_s for one in lull.requests] == [0, 1, 3, 5, 6]


@pytest.mark.parametrize(("duration_s", "factor"), [(0, 2), (2, 0), (2, float("nan"))])
def test_a_burst_of_no_length_or_rate_is_refused(duration_s: float, factor: float) -> None:
    with pytest.raises(ConfigError, match="No burst"):
        with_burst(_timed(0, 1), start_s=0, duration_s=duration_s, factor=factor)


def test_a_prefix_has_a_key_for_each_full_block() -> None:
    prompt = root("test", BLOCK).extend("system", 6).extend("question", 5)

    assert (prompt.tokens, len(unpack_keys(prompt.block_keys))) == (11, 2)


def test_prompts_share_exactly_the_blocks_before_they_part() -> None:
    system = root("test", BLOCK).extend("system", 10)
    one, other = (unpack_keys(system.extend(name, 6).block_keys) for name in ("a", "b"))

    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False, False]


def test_a_segment_too_short_for_a_block_still_names_what_follows() -> None:
    empty = root("test", BLOCK)
    one, other = (empty.extend(name, 3).extend("same", 5) for name in ("a", "b"))

    assert not set(unpack_keys(one.block_keys)) & set(unpack_keys(other.block_keys))


def test_keys_name_the_workload_too() -> None:
    one, other = (root(name, BLOCK).extend("same", 8) for name in ("a", "b"))

    assert not set(unpack_keys(one.block_keys)) & set(unpack_keys(other.block_keys))


def test_keys_are_the_same_in_every_process() -> None:
    keys = unpack_keys(root("test", BLOCK).extend("a", 8).block_keys)

    assert keys == [2727871555988915554, 16414652798231848073]


def test_statistics_of_a_worked_example() -> None:
    """Two questions on a document of 8 tokens after a system prompt of 4, then another prompt.

    Requests: 4 + 8 + 4 twice, 4 + 4 once. The second shares 12 of 16 with the first, the third 4
    of 8. Key portions: the document (8 > 4, shared by 2) and, as the third one's own 4 are not
    more than the system's 4, the system prompt (shared by 3).
    """
    system = root("test", BLOCK).extend("system", 4)
    document = system.extend("document", 8)
    figures = describe(
        _workload(
            _request(document.extend("q1", 4), at_s=0.0, group="d"),
            _request(document.extend("q2", 4), at_s=1.0, group="d"),
            _request(system.extend("q3", 4), at_s=4.0),
        )
    )

    assert (figures.num_requests, figures.num_groups, figures.rps) == (3, 2, 0.5)
    assert figures.prompt_tokens.mean == pytest.approx(40 / 3)
    assert figures.hit_rate == pytest.approx(16 / 40)
    assert figures.shared_share.mean == pytest.approx((0 + 12 / 16 + 4 / 8) / 3)
    assert figures.key_portion_share.mean == pytest.approx(0.5)
    assert figures.key_portion_share.std == pytest.approx(0.0)
    assert (figures.key_portion_requests.mean, figures.key_portion_requests.std) == (2.5, 0.5)
    assert figures.skew == pytest.approx(2 / 3)


def test_a_prompt_of_its_own_is_its_own_key_portion_to_the_last_token() -> None:
    empty = root("test", BLOCK)
    figures = describe(
        _workload(_request(empty.extend("a", 3)), _request(empty.extend("b", 7))),
    )

    assert figures.key_portion_share.mean == 1.0
    assert figures.key_portion_requests.mean == 1.0


def test_an_empty_workload_cannot_be_described() -> None:
    with pytest.raises(ConfigError, match="no requests"):
        describe(_workload())


@given(st.lists(st.lists(st.integers(0, 1), max_size=5), min_size=1, max_size=12))
def test_statistics_agree_with_a_tree_of_paths(paths: list[list[int]]) -> None:
    empty = root("test", BLOCK)
    figures = describe(_workload(*(_request(_path(empty, path)) for path in paths)))

    hits = [
        sum(
            any(path[:n] == before[:n] for before in paths[:index]) for n in range(1, len(path) + 1)
        )
        for index, path in enumerate(paths)
    ]
    lengths = [len(path) * BLOCK + 1 for path in paths]
    portions = [_naive_key_portion(path, paths) for path in paths]
    shares = [tokens / length for (tokens, _, _), length in zip(portions, lengths, strict=True)]
    shared_by = {name: count for _, name, count in portions if name}
    singles = [count for _, name, count in portions if not name]
    assert figures.hit_rate == pytest.approx(sum(hits) * BLOCK / sum(lengths))
    assert figures.key_portion_share.mean == pytest.approx(float(np.mean(shares)))
    assert figures.key_portion_requests.mean == pytest.approx(
        float(np.mean([*shared_by.values(), *singles]))
    )


def _path(empty: Prefix, path: list[int]) -> Prefix:
    prompt = empty
    for step in path:
        prompt = prompt.extend(str(step), BLOCK)
    return prompt.extend("rest", 1)


def _naive_key_portion(path: list[int], paths: list[list[int]]) -> tuple[int, tuple[int, ...], int]:
    """Tokens of the key portion, the path to its first block, and who shares it."""
    counts = [sum(other[:n] == path[:n] for other in paths) for n in range(1, len(path) + 1)]
    best: tuple[int, tuple[int, ...], int] = (1, (), 1)
    start = 0
    while start < len(path):
        size = len(list(takewhile(counts[start].__eq__, counts[start:])))
        is_own_leaf = start + size == len(path) and counts[start] == 1
        tokens = size * BLOCK + is_own_leaf
        if tokens > start * BLOCK:
            best = (tokens, tuple(path[: start + 1]), counts[start])
        start += size
    return best


def test_poisson_arrivals_have_the_rate_and_exponential_gaps() -> None:
    gaps = np.diff(poisson(np.random.default_rng(1), 20_000, 4.0))

    assert gaps.mean() == pytest.approx(0.25, rel=0.03)
    assert gaps.std() == pytest.approx(0.25, rel=0.03)


def test_bursts_vary_as_the_azure_trace_does() -> None:
    """Variance / mean of counts: 20.6 in windows of 60 s, where Poisson has 1."""
    at_s = bursty(np.random.default_rng(1), 200_000, 5.53)
    counts = np.bincount((at_s // 60).astype(int))[:-1]

    assert len(at_s) / at_s[-1] == pytest.approx(5.53, rel=0.05)
    assert counts.var() / counts.mean() == pytest.approx(20.6, rel=0.2)
    assert (np.diff(at_s) >= 0).all()


def test_packed_keys_are_little_endian_numbers_of_eight_bytes() -> None:
    keys = root("test", BLOCK).extend("a", 12).block_keys

    assert keys == pack_keys(np.frombuffer(keys, "<u8").tolist())
