"""What a page of metrics says of the jobs that have ended."""

from preble.bench.pool_totals import PoolTotals, totals_of

PAGE = """\
# HELP preble_pool_jobs_completed_total Jobs that completed.
# TYPE preble_pool_jobs_completed_total counter
preble_pool_jobs_completed_total 41.0
preble_pool_jobs_failed_total 1.0
preble_pool_jobs{state="waiting"} 7.0
preble_pool_prompt_tokens_total 2.0e+09
preble_pool_hit_tokens_delivered_total 1.5e+09
preble_jobs_submitted_total 50.0
"""


def test_totals_are_those_of_the_pool() -> None:
    totals = totals_of(PAGE)
    assert totals == PoolTotals(41, 1, 2_000_000_000, 1_500_000_000)
    assert totals.ended == 42
    assert totals.hit_rate == 0.75


def test_a_pool_that_has_done_nothing_has_no_hits() -> None:
    assert totals_of("") == PoolTotals()
    assert PoolTotals().hit_rate == 0.0
