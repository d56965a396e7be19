"""Policies that know no caches: the same whatever is held."""

from collections import Counter

from policies import Pool, costs

from preble.policy import create_policy


def taken(pool: Pool, jobs: int) -> str:
    return "".join(pool.assign().instance_id for _ in range(jobs))


def test_round_robin_takes_turns_whatever_is_held_or_placed() -> None:
    pool = Pool("round_robin", "abc")
    pool.load("a", 9)
    pool.holds("b", 1)
    assert [pool.assign(1).instance_id for _ in range(6)] == list("abcabc")
    assert pool.assign().reason == "turn"


def test_round_robin_goes_on_when_an_instance_leaves_or_joins() -> None:
    pool = Pool("round_robin", "abc")
    assert taken(pool, 3) == "abc"
    pool.leave("b")
    assert sorted(taken(pool, 2)) == ["a", "c"]
    pool.join("d")
    assert sorted(taken(pool, 3)) == ["a", "c", "d"]


def test_a_random_order_is_told_by_its_seed() -> None:
    same = [taken(Pool(create_policy("random", seed=7), "abc"), 30) for _ in range(2)]
    other = taken(Pool(create_policy("random", seed=8), "abc"), 30)
    assert same[0] == same[1] != other


def test_random_takes_every_instance_about_equally() -> None:
    """Of 900 draws among 3, 300 each with sigma 14; within 5 sigma for this seed."""
    shares = Counter(taken(Pool(create_policy("random", seed=1), "abc"), 900))
    assert all(230 < shares[name] < 370 for name in "abc")


def test_fewest_jobs_win_whatever_is_held_and_how_long_they_are() -> None:
    pool = Pool("least_outstanding")
    pool.load("a", 3)
    pool.load("b", 2, tokens=900)
    pool.holds("a", 1, 2, 3)
    decided = pool.assign(1, 2, 3)
    assert (decided.instance_id, decided.reason, costs(decided)) == ("b", "fewest_jobs", [3, 2])


def test_equal_jobs_go_to_the_lower_id_every_time() -> None:
    for _ in range(3):
        pool = Pool("least_outstanding", "abc")
        pool.load("a", 2)
        pool.load("b", 1)
        pool.load("c", 1)
        assert taken(pool, 1) == "b"


def test_a_burst_is_spread_evenly_and_an_end_makes_room() -> None:
    pool = Pool("least_outstanding", "abc")
    placed = [pool.assign() for _ in range(6)]
    assert [each.instance_id for each in placed] == list("abcabc")
    pool.end(placed[1])
    assert taken(pool, 2) == "ba"
