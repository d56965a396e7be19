"""Generators draw what Table 1 of the Preble paper describes."""

from collections import Counter, defaultdict
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from preble.errors import ConfigError
from preble.messages import unpack_keys
from preble.simulator.workload import (
    WORKLOADS,
    Spread,
    TimedRequest,
    WorkloadStatistics,
    create_workload,
    describe,
)
from preble.simulator.workload.generators.mixed import mixed
from preble.simulator.workload.generators.shared_prefix import shared_prefix
from preble.simulator.workload.generators.toolbench import toolbench


class Row(msgspec.Struct, frozen=True):
    """A row of Table 1, as (mean, standard deviation), and the size at which it is met."""

    num_requests: int
    num_groups: int
    block_size: int
    prompt_tokens: Spread
    output_tokens: Spread
    shared_share: Spread
    key_portion_share: Spread
    key_portion_requests: Spread


TABLE_1 = {
    "toolbench": Row(
        num_requests=7_800,
        num_groups=200,
        block_size=16,
        prompt_tokens=Spread(1835, 742),
        output_tokens=Spread(43, 16),
        shared_share=Spread(0.85, 0.13),
        key_portion_share=Spread(0.76, 0.16),
        key_portion_requests=Spread(39, 64),
    ),
    "embodied": Row(
        num_requests=7_500,
        num_groups=156,
        block_size=16,
        prompt_tokens=Spread(2285, 471),
        output_tokens=Spread(16, 13),
        shared_share=Spread(0.97, 0.14),
        key_portion_share=Spread(0.76, 0.12),
        key_portion_requests=Spread(48, 8),
    ),
    "programming": Row(
        num_requests=45_000,
        num_groups=5_000,
        block_size=64,
        prompt_tokens=Spread(3871, 1656),
        output_tokens=Spread(190, 343),
        shared_share=Spread(0.97, 0.074),
        key_portion_share=Spread(0.78, 0.13),
        key_portion_requests=Spread(126, 2157),
    ),
    "video": Row(
        num_requests=8_500,
        num_groups=988,
        block_size=64,
        prompt_tokens=Spread(9865, 5976),
        output_tokens=Spread(4, 1.5),
        shared_share=Spread(0.88, 0.32),
        key_portion_share=Spread(0.99, 0.002),
        key_portion_requests=Spread(8.6, 2),
    ),
    "loogle": Row(
        num_requests=5_400,
        num_groups=300,
        block_size=64,
        prompt_tokens=Spread(23474, 6105),
        output_tokens=Spread(16, 9.9),
        shared_share=Spread(0.91, 0.24),
        key_portion_share=Spread(0.94, 0.15),
        key_portion_requests=Spread(18, 8.6),
    ),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", TABLE_1)
def test_a_workload_has_the_figures_of_table_1(name: str, seed: int) -> None:
    """Lengths within 5 % (deviation 10 %), shares within 2 points (3), sharers within 5 % (8 %)."""
    row = TABLE_1[name]
    figures = _figures(name, row, seed)

    for field in ("prompt_tokens", "output_tokens"):
        _assert_near(figures, row, field, mean_rel=0.05, std_rel=0.10)
    for field in ("shared_share", "key_portion_share"):
        _assert_near(figures, row, field, mean_abs=0.02, std_abs=0.03)
    _assert_near(figures, row, "key_portion_requests", mean_rel=0.05, std_rel=0.08)


def _figures(name: str, row: Row, seed: int) -> WorkloadStatistics:
    return describe(
        create_workload(
            name,
            seed=seed,
            num_requests=row.num_requests,
            rps=5.0,
            num_groups=row.num_groups,
            block_size=row.block_size,
        )
    )


def _assert_near(
    figures: WorkloadStatistics,
    row: Row,
    field: str,
    *,
    mean_rel: float = 0.0,
    std_rel: float = 0.0,
    mean_abs: float = 0.0,
    std_abs: float = 0.0,
) -> None:
    found: Spread = getattr(figures, field)
    wanted: Spread = getattr(row, field)
    assert found.mean == pytest.approx(wanted.mean, rel=mean_rel, abs=mean_abs), field
    assert found.std == pytest.approx(wanted.std, rel=std_rel, abs=std_abs), field


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_keeps_the_contract(name: str) -> None:
    workload = create_workload(name, seed=1, num_requests=300, rps=10.0, num_groups=20)

    times = [one.at_s for one in workload.requests]
    assert len(times) == 300
    assert times == sorted(times)
    assert times[0] >= 0
    assert workload.rps == pytest.approx(10.0, rel=0.25)
    assert len({one.group for one in workload.requests}) == 20
    for one in workload.requests:
        assert len(unpack_keys(one.block_keys)) == one.prompt_tokens // workload.block_size
        assert one.output_tokens >= 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_seed_names_one_workload(name: str) -> None:
    first, again, other = (
        create_workload(name, seed=seed, num_requests=60, rps=1.0) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


@pytest.mark.parametrize("name", WORKLOADS)
def test_requests_of_different_groups_share_less_than_those_of_one(name: str) -> None:
    workload = create_workload(name, seed=1, num_requests=400, rps=1.0, num_groups=40)

    by_group: dict[str, list[TimedRequest]] = defaultdict(list)
    for one in workload.requests:
        by_group[one.group].append(one)
    members = [group for group in by_group.values() if len(group) > 1]
    within = [_common(group[0], group[1]) for group in members]
    between = [_common(one[0], other[0]) for one, other in pairwise(members)]
    assert float(np.mean(within)) > float(np.mean(between))


def _common(one: TimedRequest, other: TimedRequest) -> int:
    return len(set(unpack_keys(one.block_keys)) & set(unpack_keys(other.block_keys)))


def test_each_turn_of_an_agent_extends_the_one_before() -> None:
    workload = create_workload("embodied", seed=1, num_requests=200, rps=5.0, num_groups=4)

    turns: dict[str, list[TimedRequest]] = defaultdict(list)
    for one in workload.requests:
        turns[one.group].append(one)
    for conversation in turns.values():
        for before, after in pairwise(conversation):
            assert after.block_keys.startswith(before.block_keys)
            assert after.prompt_tokens > before.prompt_tokens + before.output_tokens


def test_solutions_of_a_problem_have_the_same_prompt() -> None:
    workload = create_workload("programming", seed=1, num_requests=90, rps=5.0)

    prompts = {(one.group, one.prompt_tokens, one.block_keys) for one in workload.requests}
    assert len(prompts) == 10


def test_even_popularity_gives_each_tool_the_same() -> None:
    workload = create_workload("toolbench_even", seed=1, num_requests=900, rps=5.0, num_groups=90)

    assert set(Counter(one.group for one in workload.requests).values()) == {10}


def test_popularity_by_zipf_falls_with_the_rank() -> None:
    """At exponent 1, ranks 1, 2 and 4 have requests as 4 : 2 : 1."""
    workload = toolbench(seed=1, num_requests=10_000, rps=5.0, num_groups=100, zipf_a=1.0)

    counts = [count for _, count in Counter(one.group for one in workload.requests).most_common()]
    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.01)
    assert counts[0] / counts[3] == pytest.approx(4.0, rel=0.01)


def test_mixed_has_four_requests_to_tools_for_each_to_videos() -> None:
    workload = create_workload("mixed", seed=1, num_requests=500, rps=5.0)

    assert Counter(one.tenant for one in workload.requests) == {"toolbench": 400, "video": 100}


def test_mixed_takes_the_arrivals_of_a_trace() -> None:
    at_s = [0.0, 0.5, 0.5, 3.0]
    workload = mixed(seed=1, num_requests=4, rps=1.0, at_s=at_s)

    assert [one.at_s for one in workload.requests] == at_s


@pytest.mark.parametrize("at_s", [[1.0, 2.0], [2.0, 1.0, 3.0]])
def test_mixed_refuses_arrivals_that_do_not_fit(at_s: list[float]) -> None:
    with pytest.raises(ConfigError, match="3 ascending arrival times"):
        mixed(seed=1, num_requests=3, rps=1.0, at_s=at_s)


def test_mixed_needs_one_of_each() -> None:
    with pytest.raises(ConfigError, match="at least 2 requests and 2 groups"):
        mixed(seed=1, num_requests=1, rps=1.0)


def test_shared_prefix_has_the_lengths_asked_for() -> None:
    workload = shared_prefix(
        seed=1,
        num_requests=100,
        rps=1.0,
        num_groups=10,
        prefix_tokens=640,
        unique_tokens=64,
        output_tokens=7,
    )

    figures = describe(workload)
    assert figures.hit_rate == pytest.approx(0.9 * 640 / 704)
    assert (figures.prompt_tokens, figures.output_tokens) == (Spread(704, 0), Spread(7, 0))


def test_a_hot_prefix_is_in_nine_of_ten_prompts() -> None:
    workload = create_workload("hot_prefix", seed=1, num_requests=2_000, rps=10.0)

    counts = Counter(one.group for one in workload.requests).most_common()
    assert counts[0][1] == 1_800
    assert {count for _, count in counts[1:]} == {20}
    assert {one.prompt_tokens for one in workload.requests} == {4096 + 256}
    hit_tokens = (2_000 - len(counts)) * 4096
    assert describe(workload).hit_rate == pytest.approx(hit_tokens / (2_000 * (4096 + 256)))


def test_a_moving_prefix_is_another_one_each_minute() -> None:
    workload = create_workload("moving_prefix", seed=1, num_requests=3_000, rps=10.0)

    minutes: dict[int, Counter[str]] = defaultdict(Counter)
    for one in workload.requests:
        minutes[int(one.at_s // 60)][one.group] += 1
    hottest = [counts.most_common(1)[0] for counts in minutes.values()]
    assert len(minutes) >= 5
    assert len({group for group, _ in hottest}) == len(minutes)
    for (_, count), counts in zip(hottest, minutes.values(), strict=True):
        assert count / counts.total() == pytest.approx(0.9, abs=0.05)


def test_of_few_prefixes_half_are_hot_in_turn() -> None:
    workload = create_workload("moving_prefix", seed=1, num_requests=3_000, rps=10.0, num_groups=4)

    counts = Counter(one.group for one in workload.requests)
    assert [count > 1_000 for _, count in counts.most_common()] == [True, True, False, False]


def test_a_batch_of_four_jobs_for_each_turn_of_a_chat_comes_at_one_moment() -> None:
    workload = create_workload("tenants", seed=1, num_requests=1_000, rps=5.0)

    by_tenant: dict[str, list[TimedRequest]] = defaultdict(list)
    for one in workload.requests:
        by_tenant[one.tenant].append(one)
    chats, jobs = by_tenant["interactive"], by_tenant["batch"]
    assert (len(chats), len(jobs)) == (200, 800)
    assert {one.priority for one in chats} == {"normal"}
    assert {one.priority for one in jobs} == {"batch"}
    assert {one.at_s for one in jobs} == {chats[50].at_s}
    changes = sum(one.group != other.group for one, other in pairwise(jobs))
    assert changes == len({one.group for one in jobs}) - 1  # sorted by prefix


def test_chats_go_on_about_every_minute_on_top_of_what_was_said() -> None:
    workload = create_workload("tenants", seed=1, num_requests=10_000, rps=10.0)

    sessions: dict[str, list[TimedRequest]] = defaultdict(list)
    for one in workload.requests:
        if one.tenant == "interactive":
            sessions[one.group].append(one)
    turns = [pair for session in sessions.values() for pair in pairwise(session)]
    assert all(after.block_keys.startswith(before.block_keys) for before, after in turns)
    assert len(sessions) == 400
    pauses_s = [after.at_s - before.at_s for before, after in turns]
    assert float(np.median(pauses_s)) == pytest.approx(60, rel=0.2)


def test_tenants_of_one_class_differ_in_class_and_order_only() -> None:
    batch, same = (
        create_workload(name, seed=1, num_requests=500, rps=5.0)
        for name in ("tenants", "tenants_same_class")
    )

    assert {one.priority for one in same.requests} == {"normal"}
    assert sorted((one.at_s, one.block_keys) for one in same.requests) == sorted(
        (one.at_s, one.block_keys) for one in batch.requests
    )
    assert same.requests != batch.requests


def test_tenants_need_two_of_each() -> None:
    with pytest.raises(ConfigError, match="at least 3 requests and 2 groups"):
        create_workload("tenants", seed=1, num_requests=300, rps=1.0, num_groups=1)


def test_an_unknown_workload_is_refused_with_the_names_known() -> None:
    with pytest.raises(ConfigError, match=r"'loggle'.*loogle"):
        create_workload("loggle", seed=1, num_requests=10, rps=1.0)


@pytest.mark.parametrize(
    ("num_requests", "num_groups", "rps"), [(0, None, 1.0), (5, 6, 1.0), (5, 0, 1.0), (5, None, 0)]
)
@pytest.mark.parametrize("name", WORKLOADS)
def test_sizes_and_rates_that_make_no_workload_are_refused(
    name: str, num_requests: int, num_groups: int | None, rps: float
) -> None:
    with pytest.raises(ConfigError):
        create_workload(name, seed=1, num_requests=num_requests, rps=rps, num_groups=num_groups)
