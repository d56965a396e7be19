"""Token buckets: over any stretch of time a tenant submits what its rate says, and one burst."""

from hypothesis import given
from hypothesis import strategies as st

from preble.broker.bounds import BURST_S, Bounds
from preble.broker.tenant_rates import TenantRates

PER_S = 200.0
BOUNDS = Bounds(1, 1, 1, tenant_jobs_per_s=PER_S)
BURST = PER_S * BURST_S


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 1_000)), max_size=60))
def test_no_more_than_the_rate_and_a_burst_and_who_waits_as_told_may(
    told: list[tuple[float, int]],
) -> None:
    rates, now_s, taken = TenantRates(BOUNDS), 0.0, list[tuple[float, int]]()
    for after_s, number in told:
        now_s += after_s
        wait_s = rates.wait_s({"a": number}, now_s=now_s)
        now_s += wait_s
        assert rates.wait_s({"a": number}, now_s=now_s + 1e-6) == 0
        rates.take({"a": number}, now_s=now_s)
        taken.append((now_s, number))
        for start in range(len(taken)):
            jobs = sum(number for _, number in taken[start:])
            assert jobs <= BURST + PER_S * (now_s - taken[start][0]) + 1


def test_a_tenant_that_may_submit_a_whole_burst_again_is_forgotten() -> None:
    rates = TenantRates(BOUNDS)
    for number in range(1_000):
        rates.take({f"tenant{number}": 1}, now_s=number)
    assert len(rates) == 1
