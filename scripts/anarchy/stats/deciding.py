"""How many launches, or levels, it takes until an interval lies inside a range or leaves it.

The value and the spread behind its interval are taken to stay what they are; only the interval narrows.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, sqrt
from typing import Final

from scipy.special import stdtrit

from .variance import Variance, cv_of, sd_interval

Bounds = Callable[[int], tuple[float, float]]
"""From a number of launches, or of levels, to the interval that they would give."""
MOST: Final = 10_000
"""Beyond so many a value counts as lying at the edge of a range."""


def enough(bounds: Bounds, low: float, high: float, least: int, most: int = MOST) -> int | None:
    """Smallest number from `least` on whose interval lies inside [low, high] or outside it.

    None where none up to `most` does. `bounds` must narrow with the number, so that what decides
    once decides from there on.
    """

    def decides(n: int) -> bool:
        lo, hi = bounds(n)
        return (low <= lo and hi <= high) or hi < low or high < lo

    if not decides(most):
        return None
    below, above = least - 1, most
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if decides(middle) else (middle, above)
    return above


def student_width(n: int) -> float:
    """Half width of Student's 95 % interval of a mean of n values, in their standard deviations: n >= 2."""
    return float(stdtrit(n - 1, 0.975)) / sqrt(n)


def student_bounds(value: float, lo: float, hi: float, now: int) -> Bounds:
    """Interval of a positive value whose logarithm is a mean over launches: both arms narrow as Student's.

    `lo` and `hi` are those of `now` launches, at least 2.
    """
    arms = log(lo / value), log(hi / value)

    def bounds(n: int) -> tuple[float, float]:
        share = student_width(n) / student_width(now)
        return value * exp(arms[0] * share), value * exp(arms[1] * share)

    return bounds


def cv_bounds(cv: float) -> Bounds:
    """Interval of a coefficient of variation over n launches, as `variance.log_cv_interval` gives it."""
    variance = log(1.0 + cv**2)

    def bounds(n: int) -> tuple[float, float]:
        lo, hi = sd_interval(Variance(variance, n - 1))
        return cv_of(lo), cv_of(hi)

    return bounds


def ratio_bounds(ratio: float) -> Bounds:
    """F interval of a ratio of two variances over n levels each, as `variance.variance_ratio` gives it."""
    from scipy.stats import f as fisher  # a second to load, and every call of Snakemake loads this

    def bounds(n: int) -> tuple[float, float]:
        wide = float(fisher.ppf(0.975, n - 1, n - 1))
        return ratio / wide, ratio * wide

    return bounds
