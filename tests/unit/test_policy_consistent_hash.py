"""Consistent hashing: where prefixes live, who moves, and when a home is full."""

from collections import Counter

from policies import Pool, blocks, costs, decision


def homes(pool: Pool, number: int = 400) -> dict[int, str]:
    """Where each of so many prefixes goes while all instances are idle."""
    taken: dict[int, str] = {}
    for key in range(number):
        placed = pool.assign(key, 7_000 + key)
        taken[key] = placed.instance_id
        pool.end(placed)
    return taken


def test_a_prefix_keeps_its_home_whatever_is_held_or_follows() -> None:
    """256 tokens are 4 blocks: what comes after the fourth does not matter, the fourth does."""
    pool = Pool("consistent_hash", "abcdefgh")
    first = pool.assign(*blocks(4))
    pool.end(first)
    pool.holds("a" if first.instance_id != "a" else "b", *blocks(4))
    again = pool.assign(*blocks(4), 55, 56)
    pool.end(again)
    assert decision(first) == decision(again) == (first.instance_id, "home")
    others = [pool.assign(*blocks(3), key) for key in range(900, 906)]
    assert {each.instance_id for each in others if each.reason == "home"} - {first.instance_id}


def test_prefixes_are_spread_over_the_ring() -> None:
    """400 prefixes on 4 instances of 150 places: 100 each, with places uneven by a few percent."""
    shares = Counter(homes(Pool("consistent_hash", "abcd")).values())
    assert all(60 < shares[name] < 140 for name in "abcd")


def test_only_the_share_of_one_who_leaves_or_joins_moves() -> None:
    pool = Pool("consistent_hash", "abcd")
    before = homes(pool)
    pool.leave("c")
    without = homes(pool)
    assert {key for key in before if without[key] != before[key]} == {
        key for key, home in before.items() if home == "c"
    }
    pool.join("e")
    joined = homes(pool)
    moved = {key for key in before if joined[key] != without[key]}
    assert {joined[key] for key in moved} == {"e"}
    assert 60 < len(moved) < 140


def test_a_home_with_more_than_its_share_passes_on_to_the_next_on_the_ring() -> None:
    """m jobs of one prefix on 4 instances: none ever has more than ceil(1.25 * m / 4)."""
    pool = Pool("consistent_hash", "abcd")
    placed = [pool.assign(*blocks(4)) for _ in range(40)]
    assert decision(placed[0])[1] == "home"
    taken = Counter(each.instance_id for each in placed)
    assert max(taken.values()) == 13
    second = next(each for each in placed if each.reason == "next_on_ring")
    assert second.instance_id != placed[0].instance_id
    assert taken[second.instance_id] > 40 / 4


def test_the_bound_counts_the_job_itself() -> None:
    """Jobs 1, 0 on 2 instances: room for ceil(1.25 * 2 / 2) = 2, so home takes its second."""
    pool = Pool("consistent_hash")
    home = pool.assign(*blocks(4)).instance_id
    assert decision(pool.assign(*blocks(4))) == (home, "home")
    assert decision(pool.assign(*blocks(4)))[1] == "next_on_ring"


def test_a_prompt_without_a_block_goes_where_the_fewest_jobs_are() -> None:
    pool = Pool("consistent_hash", "abc")
    pool.load("a", 1)
    decided = pool.assign(tokens=63)
    assert (decision(decided), costs(decided)) == (("b", "no_key"), [1, 0, 0])
