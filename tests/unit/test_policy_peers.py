"""Other routers' formulas, by hand, with the behaviour that their users know them for.

Blocks are 64 tokens. `load` puts jobs of 10 tokens on an instance unless it says otherwise; a
prompt that is held whole still misses its last token.
"""

from collections import Counter

import pytest
from policies import BLOCK, Pool, blocks, costs, decision

# longest_prefix


def test_longest_prefix_goes_to_the_holder_under_any_load() -> None:
    """640 tokens: a misses all, b misses 640 - 128 = 512."""
    pool = Pool("longest_prefix")
    pool.holds("b", 1, 2)
    pool.load("b", 500)
    decided = pool.assign(*blocks(10))
    assert decision(decided) == ("b", "longest_prefix")
    assert costs(decided) == [640, 512]


def test_longest_prefix_breaks_ties_by_jobs() -> None:
    pool = Pool("longest_prefix", "abc")
    pool.holds("a", 1, 2)
    pool.holds("b", 1, 2)
    pool.load("a", 2)
    pool.load("b", 1)
    assert pool.assign(1, 2, 3).instance_id == "b"


def test_longest_prefix_without_any_hit_is_least_outstanding() -> None:
    pool = Pool("longest_prefix", "abc")
    pool.load("a", 1)
    assert [pool.assign(branch).instance_id for branch in range(100, 102)] == ["b", "c"]


# lmetric


def test_lmetric_multiplies_misses_and_jobs() -> None:
    """a: (640 - 512) * (4 + 1) = 640; b: 640 * (0 + 1) = 640, and fewer jobs; then a is less."""
    pool = Pool("lmetric")
    pool.holds("a", *blocks(8))
    pool.load("a", 4)
    tied = pool.assign(*blocks(10))
    assert (decision(tied), costs(tied)) == (("b", "least_product"), [640, 640])
    pool.end(tied)
    pool.load("b", 1)
    decided = pool.assign(*blocks(10))
    assert (decided.instance_id, costs(decided)) == ("a", [640, 1280])


def test_lmetric_counts_the_last_token_of_a_prompt_held_whole() -> None:
    """b: 128 * (0 + 1). a, with 126 jobs: 1 * 127; with 127: 1 * 128, and b has fewer jobs."""
    pool = Pool("lmetric")
    pool.holds("a", 1, 2)
    pool.load("a", 126)
    for cost, expected in ((127, "a"), (128, "b")):
        decided = pool.assign(1, 2)
        assert (decided.instance_id, costs(decided)) == (expected, [cost, 128])


def test_lmetric_with_nothing_held_is_least_outstanding() -> None:
    pool = Pool("lmetric", "abc")
    pool.load("a", 2)
    pool.load("c", 1)
    decided = pool.assign(1)
    assert (decided.instance_id, costs(decided)) == ("b", [192, 64, 128])


# sglang_cache_aware


def test_sglang_takes_the_match_above_three_tenths() -> None:
    """3 of 10 blocks are not more than 0.3, 4 are."""
    pool = Pool("sglang_cache_aware")
    pool.holds("b", 1, 2, 3, 4)
    pool.load("b", 5)
    assert decision(pool.assign(*blocks(10))) == ("b", "longest_prefix")
    assert decision(pool.assign(1, 2, 3, *blocks(7, branch=1))) == ("a", "fewest_jobs")


def test_sglang_piles_a_hot_prefix_on_one_holder_below_64_jobs() -> None:
    """Its users' second complaint: 60 jobs at once never pass the gate, b and c stay idle."""
    pool = Pool("sglang_cache_aware", "abc")
    taken = Counter(pool.assign(*blocks(10), 100 + job).instance_id for job in range(65))
    assert taken == {"a": 65}
    assert decision(pool.assign(*blocks(10), 999)) == ("b", "fleet_imbalanced")


def test_sglang_gate_needs_both_the_difference_and_the_ratio() -> None:
    """200 - 135 = 65 > 64 but 200 <= 1.5 * 135 = 202.5; at 133: 67 and 199.5."""
    pool = Pool("sglang_cache_aware")
    pool.holds("a", *blocks(10))
    pool.load("a", 200)
    pool.load("b", 135)
    assert decision(pool.assign(*blocks(10))) == ("a", "longest_prefix")
    pool = Pool("sglang_cache_aware")
    pool.holds("a", *blocks(10))
    pool.load("a", 200)
    pool.load("b", 133)
    decided = pool.assign(*blocks(10))
    assert (decision(decided), costs(decided)) == (("b", "fleet_imbalanced"), [200, 133])


def test_sglang_gate_drops_all_affinity_of_prefixes_that_are_not_to_blame() -> None:
    """Its users' first complaint: a is crowded, so a prompt that idle b holds goes to c."""
    pool = Pool("sglang_cache_aware", "abc")
    pool.load("a", 65)
    pool.holds("b", *blocks(10))
    pool.load("b", 1)
    decided = pool.assign(*blocks(10))
    assert decision(decided) == ("c", "fleet_imbalanced")
    assert (decided.predicted_hit_tokens, decided.available_hit_tokens) == (0, 639)


def test_sglang_does_not_look_at_load_among_those_that_hold_most() -> None:
    pool = Pool("sglang_cache_aware", "abc")
    for name in "bc":
        pool.holds(name, *blocks(10))
    pool.load("b", 9)
    assert decision(pool.assign(*blocks(10))) == ("b", "longest_prefix")


# smg


def test_smg_spills_only_from_the_matched_instance() -> None:
    """What sglang's gate gets wrong: a's crowd is no reason to leave idle b."""
    pool = Pool("smg", "abc")
    pool.load("a", 65)
    pool.holds("b", *blocks(10))
    pool.load("b", 1)
    assert decision(pool.assign(*blocks(10))) == ("b", "longest_prefix")


def test_smg_margin_follows_the_mean() -> None:
    """Mean 9, margin max(4, 2 * 3) = 6: above max(13.5, 15) it spills. Mean 20: above 30."""
    for jobs, expected in (
        ((15, 6, 6), ("a", "longest_prefix")),
        ((16, 5, 6), ("b", "spill")),
        ((30, 15, 15), ("a", "longest_prefix")),
        ((31, 14, 15), ("b", "spill")),
    ):
        pool = Pool("smg", "abc")
        pool.holds("a", *blocks(10))
        for name, number in zip("abc", jobs, strict=True):
            pool.load(name, number)
        assert decision(pool.assign(*blocks(10))) == expected


def test_smg_margin_is_at_least_4_jobs() -> None:
    """Jobs 4, 0, 0: mean 4/3, above 1.5 times of it, but not above 4/3 + 4; at 9: mean 3."""
    pool = Pool("smg", "abc")
    pool.holds("a", *blocks(10))
    pool.load("a", 4)
    assert decision(pool.assign(*blocks(10))) == ("a", "longest_prefix")
    pool.load("a", 4)
    assert decision(pool.assign(*blocks(10))) == ("b", "spill")


def test_smg_spreads_a_hot_prefix_over_the_whole_fleet() -> None:
    """A holder is taken whatever its load, so some run ahead of the mean, and what they spill
    makes the next holder, until there is none left."""
    for instances in ("abc", "abcd"):
        pool = Pool("smg", instances)
        taken = Counter(pool.assign(*blocks(10), 100 + job).instance_id for job in range(120))
        assert len(taken) == len(instances)
        assert max(taken.values()) <= 1.5 * 120 / len(instances) + 1


def test_smg_takes_one_of_the_holders_by_the_prompts_end_whatever_their_load() -> None:
    pool = Pool("smg", "abc")
    for name in "ac":
        pool.holds(name, *blocks(10))
    pool.load("a", 1)
    ends = {end: pool.assign(*blocks(10), end).instance_id for end in (1_000, 1_001)}
    assert ends == {1_000: "a", 1_001: "c"}


def test_smg_misses_go_by_expected_wait() -> None:
    """10,000 KV tokens each. a: 5 jobs of 1,000 to compute, b: 2 of 4,000 that are computed.

    a: 5,000 / 2,000 + 0.15 * 0.5 / 0.5 = 2.65 s; b: 0 + 0.15 * 0.8 / 0.2 = 0.6 s.
    """
    pool = Pool("smg")
    pool.load("a", 5, tokens=1_000)
    pool.load("b", 2, tokens=4_000, keys=(7, 8))
    pool.holds("b", 7, 8)
    decided = pool.assign(*blocks(10))
    assert decision(decided) == ("b", "least_wait")
    assert costs(decided) == pytest.approx([2.65, 0.6])


def test_smg_never_divides_by_a_full_cache() -> None:
    """20,000 of 10,000 tokens count as 0.999: 10 + 0.15 * 999 = 159.85 s."""
    pool = Pool("smg")
    pool.load("a", 2, tokens=10_000)
    decided = pool.assign(*blocks(10))
    assert costs(decided) == pytest.approx([159.85, 0])


# dynamo_kv


def test_dynamo_trades_hits_against_blocks_under_way() -> None:
    """640 tokens, 320 of them on a: prefill 5 blocks and 10; active 10 on both; so 15 and 20.

    Then 3 jobs of 64 tokens, computed, on a: 3 active blocks more: 18. Another 3: 21.
    """
    pool = Pool("dynamo_kv")
    pool.holds("a", *blocks(5))
    others = iter(range(2_000, 3_000))
    for expected in ([15, 20], [18, 20], [21, 20]):
        decided = pool.assign(*blocks(10))
        assert costs(decided) == expected
        assert decision(decided) == ("a" if expected[0] < 20 else "b", "least_blocks")
        pool.end(decided)
        for _ in range(3):
            other = next(others)
            pool.load("a", 1, tokens=BLOCK, keys=(other,))
            pool.holds("a", other)


def test_dynamo_counts_what_waits_to_be_computed_twice() -> None:
    """A job of 640 tokens on a, not computed: 10 blocks of prefill and 10 active ones."""
    pool = Pool("dynamo_kv")
    pool.load("a", 1, tokens=640, keys=blocks(10))
    assert costs(pool.assign(*blocks(1, branch=1))) == [22, 2]


def test_dynamo_counts_blocks_that_jobs_share_once() -> None:
    """6 jobs of the same 10 blocks, computed, on a; one of 11 on b; 2 of the 10 are asked for."""
    pool = Pool("dynamo_kv")
    pool.load("a", 6, tokens=640, keys=blocks(10))
    pool.load("b", 1, tokens=704, keys=blocks(11, branch=1))
    pool.holds("a", *blocks(10))
    pool.holds("b", *blocks(11, branch=1))
    decided = pool.assign(*blocks(2), tokens=2 * BLOCK)
    assert (decided.instance_id, costs(decided)) == ("a", [10 + 1 / 64, 11 + 2 + 2])
