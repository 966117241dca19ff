"""What a number would be on a host without noise: a line over one over the dilation, carried on to zero.

Noise of the host is wall time. Model time is wall time over the dilation, so that what noise adds to a model
time falls as one over the dilation, as long as it adds in proportion. Three dilations or more show whether it
does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from anarchy.stats.intervals import FloatArray

LEAST: Final = 3
"""Dilations of a line: two fit any line, and say nothing of it."""


@dataclass(frozen=True)
class Quiet:
    """A number at no noise with its 95 % interval.

    `slope` is what noise adds at a dilation of 1. `p_line`: how often values that lie on a line would scatter
    around it as these do; where it is small, the interval is widened by the scatter, and is no better than
    the line.
    """

    value: float
    lo: float
    hi: float
    slope: float
    p_line: float


def at_no_noise(
    dilations: Sequence[float], values: Sequence[float], errors: Sequence[float], df: float
) -> Quiet:
    """The weighted least-squares line over 1 / dilation, at 0.

    Shapes: (M,) each; `errors` are standard errors of the values, in their unit, known to `df` degrees of
    freedom together. The interval is Student's. Errors: ValueError on fewer than three dilations, shapes that
    differ, a dilation or an error that is not above 0, or `df` under 1.
    """
    from scipy import stats  # a second to load, and every call of Snakemake loads this

    x, y, error = (np.asarray(row, dtype=np.float64) for row in (dilations, values, errors))
    if not x.shape == y.shape == error.shape or np.unique(x).size < LEAST:
        raise ValueError(f"want {LEAST} dilations or more, and a value and an error for each")
    if not (np.all(x > 0.0) and np.all(error > 0.0) and df >= 1.0):
        raise ValueError("dilations and errors lie above 0, and degrees of freedom are 1 or more")
    design: FloatArray = np.column_stack((np.ones_like(x), 1.0 / x))
    weighted = design / error[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    line = covariance @ (weighted.T @ (y / error))
    left = x.size - 2
    scatter = float(np.sum(((y - design @ line) / error) ** 2)) / left
    half = float(stats.t.ppf(0.975, df)) * float(np.sqrt(covariance[0, 0] * max(1.0, scatter)))
    value = float(line[0])
    # Errors are themselves estimates, so that the scatter is an F and no chi-squared.
    return Quiet(value, value - half, value + half, float(line[1]), float(stats.f.sf(scatter, left, df)))


def pooled_errors(
    values: Sequence[float], lows: Sequence[float], highs: Sequence[float], launches: Sequence[int]
) -> tuple[list[float], int]:
    """Standard errors of means over launches, and the degrees of freedom that they are known to together.

    `lows` and `highs` are the ends of their 95 % Student intervals on the scale of logarithms, as
    `stats.intervals` makes them. Spread between launches is taken to be one share of the value at every
    dilation: two degrees of freedom each would tell no weights. Errors: ValueError on less than two launches,
    or ends that are not above 0 and ascending.
    """
    from scipy import stats

    rows = list(zip(lows, highs, launches, strict=True))
    if any(n < 2 or not 0.0 < lo < hi for lo, hi, n in rows):
        raise ValueError("want two launches or more, and intervals above 0 that have a width")
    squares = [n * (math.log(hi / lo) / 2.0 / stats.t.ppf(0.975, n - 1)) ** 2 for lo, hi, n in rows]
    df = sum(n - 1 for n in launches)
    variance = sum((n - 1) * square for n, square in zip(launches, squares, strict=True)) / df
    return [value * math.sqrt(variance / n) for value, n in zip(values, launches, strict=True)], df
