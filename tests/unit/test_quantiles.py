"""Quantiles by nearest rank."""

from preble.quantiles import quantile


def test_quantile_is_the_nearest_rank() -> None:
    values = [float(n) for n in range(1, 101)]

    assert (quantile(values, 0.99), quantile(values, 0.5), quantile([], 0.5)) == (99.0, 50.0, 0.0)
