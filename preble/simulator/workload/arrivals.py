"""When requests arrive: times drawn at a mean rate, in seconds from the workload's start."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from preble.errors import ConfigError

_RATE_LASTS_S: Final = 60.0
_RATE_CV: Final = 0.244
"""Coefficient of variation of a minute's rate; see `bursty`."""


def poisson(rng: np.random.Generator, count: int, rps: float) -> NDArray[np.float64]:
    """Arrivals with exponential gaps of mean `1 / rps`; the first one after such a gap.

    Raises:
        ConfigError: If the rate is not positive.
    """
    check_rate(rps)
    return np.cumsum(rng.exponential(1 / rps, count))


def bursty(rng: np.random.Generator, count: int, rps: float) -> NDArray[np.float64]:
    """Arrivals with a rate that is drawn anew every minute, around `rps`.

    Fitted to the Azure conversation trace of November 2023. Its gaps are nearly exponential
    (coefficient of variation 1.09), yet counts vary more than Poisson's: variance / mean is 1.4
    in windows of 1 s, 4.0 in 10 s and 20.6 in 60 s. A gamma rate with the coefficient of
    variation below gives 1.3, 4.3 and 20.5 at that trace's 5.5 requests/s.

    Raises:
        ConfigError: If the rate is not positive.
    """
    work = poisson(rng, count, rps)  # as if the rate were constant
    shape = 1 / _RATE_CV**2
    expected = [0.0]
    while expected[-1] < work[-1]:
        expected.append(expected[-1] + _RATE_LASTS_S * float(rng.gamma(shape, 1 / shape)))
    epochs = np.arange(len(expected)) * _RATE_LASTS_S
    return np.asarray(np.interp(work, expected, epochs), dtype=np.float64)


def check_rate(rps: float) -> None:
    """A rate must be positive.

    Raises:
        ConfigError: If it is not.
    """
    if not rps > 0:
        raise ConfigError(f"A rate of {rps} requests/s is not possible: give one above 0.")
