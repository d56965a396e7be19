"""Coefficients from timed steps.

    step = constant + rising line in pieces (new tokens) + a * context
           + for each long request: b * new tokens + c * context + d * pairs attended to
             + e * context squared

All slopes are >= 0, so what comes out is sound however noisy the samples are. From which
product of new tokens and context on a request is long, the errors at held-out steps decide.
"""

import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from preble.cost_model.coefficients import Attention, Coefficients, LongRequest, Piece
from preble.cost_model.least_squares import solve_relative
from preble.cost_model.model import CostModel
from preble.cost_model.samples import StepSample
from preble.errors import ConfigError
from preble.quantiles import quantile

_KNOTS: Final = (8, 16, 32, 64, 128, 192, 256, 384, 512, 1024)
"""Where the line in new tokens may bend: tiles of matrix kernels, and the way from reading
weights to computing."""
_LONG_PRODUCTS: Final = (0, 1024**2)
"""Where requests may begin to be long: at once, or where the published fits have it."""
_LEAST_SHARE: Final = 0.01
"""Of the quickest step, what the emptiest costs at least: nothing is free."""
_MIN_POINTS: Final = 6
_FOLDS: Final = 5


class Form(msgspec.Struct, frozen=True):
    """What is chosen before the coefficients: bends of the line, and what a long request is."""

    knots: tuple[int, ...]
    min_product: int


class Fit(msgspec.Struct, frozen=True):
    """What a fit came to.

    Args:
        coefficients: Of all samples; their source still has to be said.
        median_error: Of the relative errors at points held out: each sample is predicted by a
            fit without any sample of its point.
        p90_error: Of the same errors.
    """

    coefficients: Coefficients
    median_error: float
    p90_error: float


def fit(samples: Sequence[StepSample], *, name: str) -> Fit:
    """Fit a cost model.

    Raises:
        ConfigError: If there are fewer than `_MIN_POINTS` different steps.
    """
    points = sorted({sample.point for sample in samples})
    if len(points) < _MIN_POINTS:
        msg = f"{len(points)} different steps are too few to fit: give {_MIN_POINTS} or more"
        raise ConfigError(msg)
    forms = [Form(_knots(samples), product) for product in _LONG_PRODUCTS]
    by_form = {form: _held_out_errors(samples, points, form) for form in forms}
    form = min(forms, key=lambda each: statistics.fmean(by_form[each]))
    errors = by_form[form]
    return Fit(_solve(samples, form, name), statistics.median(errors), quantile(errors, 0.9))


def predicted_s(model: CostModel, sample: StepSample) -> float:
    """What a model says of a sample's step."""
    each = sample.num_requests
    long_ms = each * model.long_request_ms(sample.new_tokens // each, sample.context_tokens // each)
    return model.totals_s(*sample.point, long_ms)


def relative_error(model: CostModel, sample: StepSample) -> float:
    """How far that is from the sample, as a share of it."""
    return abs(predicted_s(model, sample) / sample.step_s - 1)


def _held_out_errors(
    samples: Sequence[StepSample], points: Sequence[tuple[int, int, int]], form: Form
) -> list[float]:
    """The relative error of each sample by a fit without its point, ascending."""
    errors: list[float] = []
    for number in range(_FOLDS):
        held_out = set(points[number::_FOLDS])
        rest = [sample for sample in samples if sample.point not in held_out]
        model = CostModel(_solve(rest, form, ""))
        errors += [relative_error(model, each) for each in samples if each.point in held_out]
    return sorted(errors)


def _solve(samples: Sequence[StepSample], form: Form, name: str) -> Coefficients:
    rows = np.array([_features(sample, form) for sample in samples], dtype=np.float64)
    values_ms = np.array([sample.step_s * 1000 for sample in samples])
    used = rows.any(axis=0)
    x = np.zeros(rows.shape[1])
    x[used] = solve_relative(rows[:, used], values_ms)
    x[0] = max(x[0], _LEAST_SHARE * values_ms.min())
    return _coefficients([_rounded(float(each)) for each in x], form, name)


def _knots(samples: Sequence[StepSample]) -> tuple[int, ...]:
    """Knots with a number of new tokens between neighbours, and two behind the last."""
    knots = [0]
    lengths = sorted({sample.new_tokens for sample in samples})
    for knot in _KNOTS:
        num_after = sum(length > knot for length in lengths)
        if num_after > 1 and any(knots[-1] < length <= knot for length in lengths):
            knots.append(knot)
    return tuple(knots)


def _features(sample: StepSample, form: Form) -> list[float]:
    """What the coefficients are multiplied with, in the order in which `_coefficients` reads."""
    pieces = [
        float(min(max(sample.new_tokens - start, 0), end - start))
        for start, end in pairwise([*form.knots, sample.new_tokens + form.knots[-1]])
    ]
    return [1.0, *pieces, float(sample.context_tokens), *_long_features(sample, form)]


def _long_features(sample: StepSample, form: Form) -> tuple[float, float, float, float]:
    """New tokens, context, pairs and squares of the long requests, which are all or none."""
    new_tokens, context_tokens, num_requests = sample.point
    product = new_tokens * context_tokens / num_requests**2
    if new_tokens <= num_requests or product <= form.min_product:
        return 0.0, 0.0, 0.0, 0.0
    # Among the new tokens each attends to half of them, on average: see `estimate`.
    pairs = new_tokens * (context_tokens - new_tokens / 2) / num_requests
    squares = context_tokens**2 / num_requests
    return float(new_tokens), float(context_tokens), pairs, squares


def _coefficients(x: Sequence[float], form: Form, name: str) -> Coefficients:
    constant_ms, *slopes_ms, context_ms, long_new_ms, long_context_ms, pair_ms, square_ms = x
    pieces: list[Piece] = []
    at_start_ms = constant_ms
    for (start, end), slope_ms in zip(pairwise([*form.knots, 0]), slopes_ms, strict=True):
        if not pieces or pieces[-1].per_token_ms != slope_ms:
            pieces.append(Piece(start, round(at_start_ms - slope_ms * start, 9), slope_ms))
        at_start_ms += slope_ms * (end - start)
    half_ms = pair_ms / 2
    return Coefficients(
        name=name,
        source="",
        linear=tuple(pieces),
        attention=Attention(0, 0.0, 0.0, context_ms),
        long_request=LongRequest(
            min_product=form.min_product,
            per_new_token_ms=long_new_ms,
            per_context_token_ms=long_context_ms,
            per_product_ms=pair_ms,
            per_new_squared_ms=0.0 - half_ms,
            per_context_squared_ms=square_ms,
        ),
        efficiency=1.0,
    )


def _rounded(ms: float) -> float:
    return float(f"{ms:.6g}")
