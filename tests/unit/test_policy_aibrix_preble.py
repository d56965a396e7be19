"""AIBrix's part of Preble, by hand: what its window holds and what it overlooks."""

import pytest
from policies import Pool, blocks, costs, decision

from preble.cost_model import load_cost_model
from preble.policy.aibrix_preble import NODE_DECODE_S


def prefill_s(tokens: int, prompt_tokens: int) -> float:
    return load_cost_model("mistral_7b_a6000").prefill_s(tokens, prompt_tokens)


def test_takes_a_match_of_more_than_half() -> None:
    pool = Pool("aibrix_preble")
    pool.holds("b", *blocks(5))
    assert decision(pool.assign(*blocks(9))) == ("b", "longest_prefix")
    assert decision(pool.assign(*blocks(5), *blocks(5, branch=1))) == ("a", "least_window_cost")


def test_cost_is_the_window_prefills_and_one_decode_for_each_node() -> None:
    """A new prompt's run is the whole prompt: prefill(640) + 6.75 s on a, so the next goes to b."""
    pool = Pool("aibrix_preble")
    pool.assign(*blocks(10))
    decided = pool.assign(*blocks(10, branch=1))
    assert decision(decided) == ("b", "least_window_cost")
    assert costs(decided) == pytest.approx([prefill_s(640, 640) + NODE_DECODE_S, 0])


def test_decode_does_not_grow_with_the_requests_of_a_node() -> None:
    """10 equal prompts on a: 10 prefills, 45 tokens once; so do its 0.15 s a token."""
    pool = Pool("aibrix_preble")
    for _ in range(10):
        assert pool.assign(*blocks(10)).instance_id == "a"
    decided = pool.assign(*blocks(1, branch=1))
    assert costs(decided) == pytest.approx([10 * prefill_s(640, 640) + 6.75, 0])


def test_charges_only_the_run_that_was_new() -> None:
    """12 blocks after 8 that are known: run 4 blocks, miss rate 4/12; a has both nodes."""
    pool = Pool("aibrix_preble")
    pool.assign(*blocks(8))
    assert pool.assign(*blocks(12)).instance_id == "a"
    decided = pool.assign(*blocks(1, branch=1))
    nodes_s = prefill_s(512, 512) + prefill_s(256, 768) / 3
    assert costs(decided) == pytest.approx([nodes_s + 2 * NODE_DECODE_S, 0])


def test_shares_a_node_among_its_instances() -> None:
    """The prompt is lost after each job: a takes it, then b, each then has half of 2 prefills."""
    pool = Pool("aibrix_preble")
    for name in "ab":
        placed = pool.assign(*blocks(10))
        assert placed.instance_id == name
        pool.end(placed)
    decided = pool.assign(*blocks(1, branch=1))
    assert costs(decided) == pytest.approx(2 * [prefill_s(640, 640) + NODE_DECODE_S])


def test_a_longer_prompt_brings_its_instance_to_the_nodes_of_its_prefixes() -> None:
    """4 blocks on a, then 12 that begin with them on b: both share the first node."""
    pool = Pool("aibrix_preble")
    pool.end(pool.assign(*blocks(4)))
    assert pool.assign(*blocks(12)).instance_id == "b"
    first_s = prefill_s(256, 256) / 2 + NODE_DECODE_S
    second_s = prefill_s(512, 768) * 8 / 12 + NODE_DECODE_S
    decided = pool.assign(*blocks(1, branch=1))
    assert costs(decided) == pytest.approx([first_s, first_s + second_s])


def test_takes_the_holder_with_fewest_requests_in_the_window() -> None:
    """Three prompts went to a, b, a: b has had fewer, though it has more jobs now."""
    pool = Pool("aibrix_preble")
    earlier = [pool.assign(*blocks(10, branch=branch)) for branch in (1, 2, 3)]
    assert [each.instance_id for each in earlier] == ["a", "b", "a"]
    for name in "ab":
        pool.holds(name, *blocks(10))
    pool.load("b", 5)
    decided = pool.assign(*blocks(10))
    assert (decision(decided), costs(decided)) == (("b", "longest_prefix"), [2, 1])


def test_forgets_what_leaves_its_window() -> None:
    pool = Pool("aibrix_preble")
    pool.assign(*blocks(10))
    assert costs(pool.assign(*blocks(1, branch=1), now_s=179.9))[0]
    assert costs(pool.assign(*blocks(1, branch=2), now_s=180))[0] == 0


def test_counts_a_job_once_however_often_it_is_planned() -> None:
    pool = Pool("aibrix_preble")
    for _ in range(3):
        pool.assign(*blocks(10), job="again")
    decided = pool.assign(*blocks(1, branch=1))
    assert costs(decided) == pytest.approx([prefill_s(640, 640) + NODE_DECODE_S, 0])


def test_drops_who_left() -> None:
    """a and b share a node; when b goes, a has all of its 2 prefills."""
    pool = Pool("aibrix_preble")
    for _ in "ab":
        pool.end(pool.assign(*blocks(10)))
    pool.leave("b")
    decided = pool.assign(*blocks(1, branch=1))
    assert costs(decided) == pytest.approx([2 * prefill_s(640, 640) + NODE_DECODE_S])
    pool.join("b")
    assert costs(pool.assign(*blocks(1, branch=2)))[1] == 0
