"""Least squares with coefficients that are not negative, also where some values are wrong."""

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TOLERANCE: Final = 1e-10
_ROUNDS: Final = 30
_HUBER: Final = 1.345
"""Deviations, in standard ones, from which on a value counts less: 95 % efficient for normal
noise (Huber 1981)."""
_TO_STANDARD: Final = 1.4826
"""Standard deviations in a median absolute one, for normal noise."""
_LEAST_SPREAD: Final = 1e-3
"""Relative errors below this are none."""


def solve(rows: Floats, values: Floats) -> Floats:
    """The x >= 0 for which `rows @ x` has the least squared distance from `values`.

    Source: Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23.
    """
    free = np.zeros(rows.shape[1], dtype=bool)
    x = np.zeros(rows.shape[1])
    for _ in range(3 * len(x)):
        gradient = rows.T @ (values - rows @ x)
        gradient[free] = -np.inf
        best = int(np.argmax(gradient))
        if gradient[best] <= _TOLERANCE:
            break
        free[best] = True
        x = _solve_free(rows, values, x, free)
    return x


def _solve_free(rows: Floats, values: Floats, x: Floats, free: npt.NDArray[np.bool_]) -> Floats:
    """Solve for the free coefficients; those that would get negative stop being free.

    Changes: `free`.
    """
    while True:
        wanted = np.zeros_like(x)
        wanted[free] = np.linalg.lstsq(rows[:, free], values, rcond=None)[0]
        falling = free & (wanted <= 0)
        if not falling.any():
            return wanted
        # As far towards it as the first coefficient that reaches 0 allows.
        x = x + (wanted - x) * np.min(x[falling] / (x[falling] - wanted[falling]))
        free &= x > _TOLERANCE
        x[~free] = 0.0


def solve_relative(rows: Floats, values: Floats) -> Floats:
    """As `solve`, but for relative errors, and with less weight for values that stand out.

    Iteratively reweighted by Huber's function, so that a few stalled steps bend nothing.

    Args:
        rows: One for each value; no column is zero everywhere.
        values: Above 0.
    """
    relative = rows / values[:, None]
    scale: Floats = np.linalg.norm(relative, axis=0)
    relative /= scale
    ones = np.ones(len(values))
    weights = ones
    x = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        roots = np.sqrt(weights)
        x = solve(relative * roots[:, None], roots)
        weights = _huber_weights(relative @ x - ones)
    unscaled: Floats = x / scale
    return unscaled


def _huber_weights(errors: Floats) -> Floats:
    sizes = np.abs(errors)
    limit = _HUBER * max(_LEAST_SPREAD, _TO_STANDARD * float(np.median(sizes)))
    weights: Floats = limit / np.maximum(sizes, limit)
    return weights
