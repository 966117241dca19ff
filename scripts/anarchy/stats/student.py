"""A mean over launches with Student's interval, for numbers that each launch gives one of."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np

from anarchy.stats.deciding import student_width
from anarchy.stats.intervals import Kind
from anarchy.stats.launches import MIN_LAUNCHES

Ends = tuple[float, float, float]
"""A value and the two ends of its 95 % interval; ends are NaN where there is none."""


def mean_over_launches(values: Sequence[float], *, ratio: bool = False) -> Ends:
    """The mean of one number a launch; of a `ratio`, which is above 0, the geometric one.

    No interval with fewer than MIN_LAUNCHES values. Infinite or NaN where a value is. Errors: ValueError
    without a value, and on a ratio that is not above 0.
    """
    if not len(values) or (ratio and min(values) <= 0.0):
        raise ValueError(f"no mean over launches of {list(values)}")
    worst = next((value for value in values if not np.isfinite(value)), None)
    if worst is not None:
        return float(worst), float("nan"), float("nan")
    scaled = [log(value) for value in values] if ratio else list(values)
    mean = float(np.mean(scaled))
    half = float("nan")
    if len(values) >= MIN_LAUNCHES:
        half = student_width(len(values)) * float(np.std(scaled, ddof=1))
    value, lo, hi = (exp(end) if ratio else end for end in (mean, mean - half, mean + half))
    return value, lo, hi


def kind_over(launches: int) -> Kind | None:
    """What the intervals of `mean_over_launches` over so many are called; None where there is none."""
    return "across-launches" if launches >= MIN_LAUNCHES else None


def next_value(values: Sequence[float], *, ratio: bool = False) -> Ends:
    """The mean of some values, and where one more of their kind falls in 95 of 100 cases; as above otherwise.

    Student's prediction interval, wider than that of the mean: it does not shrink to nothing with their
    number (Hahn and Meeker 1991). Assumes normal values, or logarithms of a `ratio`.
    """
    value, lo, hi = mean_over_launches(values, ratio=ratio)
    wider = sqrt(len(values) + 1.0)
    if ratio:
        return value, value * (lo / value) ** wider, value * (hi / value) ** wider
    return value, value - wider * (value - lo), value + wider * (hi - value)
