"""Spread of a few values: intervals of a standard deviation and a variance ratio, and the bound of an effect.

The model is normal values, here logarithms of positive quantities, so standard deviations are relative ones:
`cv_of` turns one into a coefficient of variation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, expm1, isfinite, log, nan, sqrt

import numpy as np
from scipy.optimize import brentq
from scipy.special import ncfdtr

from .intervals import FloatArray

LEVEL = 0.95


@dataclass(frozen=True)
class Variance:
    """A variance estimated with so many degrees of freedom: `df * value / truth` is chi-squared."""

    value: float
    df: int


@dataclass(frozen=True)
class Ratio:
    """A ratio with a two-sided interval; NaN where there is nothing to tell it from."""

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class LevelEffect:
    """Whether levels differ, and how much they can differ.

    `between` is the variance over levels, noise included; `noise` what noise alone gives it, None = unknown.
    `f`, `p_value`: F test of no difference, NaN without noise. `sd`: estimate of the standard deviation of
    the levels' own values, the noise taken out, at least 0. `sd_bound`: its one-sided upper bound.
    """

    between: Variance
    noise: Variance | None
    f: float
    p_value: float
    sd: float
    sd_bound: float


def cv_of(sd_log: float) -> float:
    """Coefficient of variation of a log-normal quantity: `sqrt(exp(sd^2) - 1)`, about sd if small."""
    return sqrt(expm1(min(sd_log**2, 700.0))) if sd_log >= 0.0 else nan


def sd_upper_bound(variance: Variance, level: float = LEVEL) -> float:
    """One-sided upper bound of a standard deviation: `s sqrt(df / chi2_{1 - level}(df))`."""
    from scipy.stats import chi2  # a second to load, and every call of Snakemake loads this

    return sqrt(variance.value * variance.df / chi2.ppf(1.0 - level, variance.df))


def sd_interval(variance: Variance, level: float = LEVEL) -> tuple[float, float]:
    """Two-sided interval of a standard deviation of normal values (chi-squared)."""
    from scipy.stats import chi2

    tails = chi2.ppf([(1.0 + level) / 2.0, (1.0 - level) / 2.0], variance.df)
    lo, hi = np.sqrt(variance.value * variance.df / tails)
    return float(lo), float(hi)


def variance_ratio(over: Variance, under: Variance, level: float = LEVEL) -> Ratio:
    """Ratio of two variances with its F interval: `[r / F_{hi}, r / F_{lo}]` at (df_over, df_under).

    Exact for independent sides; where both sides hold the same levels and these move together the interval
    is too wide, never too narrow. NaN where the denominator is 0.
    """
    from scipy.stats import f as fisher

    if under.value <= 0.0:
        return Ratio(nan, nan, nan)
    ratio = over.value / under.value
    tail = (1.0 - level) / 2.0
    lo, hi = (float(fisher.ppf(q, over.df, under.df)) for q in (tail, 1.0 - tail))
    return Ratio(ratio, ratio / hi, ratio / lo)


def level_effect(between: Variance, noise: Variance | None, level: float = LEVEL) -> LevelEffect:
    """Test levels against noise, and bound the spread of what the levels themselves do.

    Model: a level's value is `mu + b + e`, b and e normal with variances sigma_b^2 and sigma_e^2; `between`
    estimates their sum, `noise` sigma_e^2. The test is `F = between / noise` against F(df, df_noise). The
    bound is that of the sum's root, because sigma_b cannot exceed it: it holds whatever the noise is and
    however it differs from level to level, at the price of being loose where noise is all there is.
    """
    from scipy.stats import f as fisher

    f = p_value = nan
    sd = sqrt(between.value)
    if noise is not None and noise.value > 0.0:
        f = between.value / noise.value
        p_value = float(fisher.sf(f, between.df, noise.df))
        sd = sqrt(max(0.0, between.value - noise.value))
    return LevelEffect(between, noise, f, p_value, sd, sd_upper_bound(between, level))


def levels_own_bounds(
    f: float, df: int, df_noise: int, noise_sd: float, level: float = LEVEL
) -> tuple[float, float]:
    """One-sided lower and upper bound of the standard deviation of just these levels' own values.

    The levels are fixed, not a sample of more: F is noncentral, with `df` times the squared ratio of that
    standard deviation to `noise_sd` as its noncentrality. The bounds are the noncentralities under which F is
    as large, or as small, in `1 - level` of all measurements. The noise is that of a level's mean, the same
    for all, and enters as it was estimated. Errors: ValueError for an F or a noise that is not positive and
    finite. Source: Steiger (2004), Psychological Methods 9(2), the interval of a standardised effect.
    """
    if not (isfinite(f) and f > 0.0 and isfinite(noise_sd) and noise_sd > 0.0):
        raise ValueError(f"F {f} and noise {noise_sd} must be positive and finite")

    def noncentrality(chance: float) -> float:
        """Where F is at most what was seen with this chance; 0 where it is less likely than that anyway."""

        def over(nc: float) -> float:
            return float(ncfdtr(df, df_noise, nc, f)) - chance

        if over(0.0) <= 0.0:
            return 0.0
        top = df * f + 1.0
        while over(top) > 0.0:
            top *= 2.0
        return float(brentq(over, 0.0, top))

    lo, hi = (noise_sd * sqrt(noncentrality(chance) / df) for chance in (level, 1.0 - level))
    return lo, hi


def variance_of(values: FloatArray) -> Variance | None:
    """Sample variance, (n,) -> df = n - 1; None with fewer than two values."""
    return Variance(float(np.var(values, ddof=1)), values.size - 1) if values.size > 1 else None


def level_noise(table: FloatArray) -> Variance | None:
    """Noise of the levels' means over launches, from how launches disagree about the levels.

    Shapes: (levels, launches), both at least 2, else None. It is the residual of levels and launches, over
    the number of launches: a launch's own level cancels, a difference that only one launch shows is noise.
    """
    n, L = table.shape
    if n < 2 or L < 2:
        return None
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    df = (n - 1) * (L - 1)
    return Variance(float((residual**2).sum()) / df / L, df)


def log_cv_interval(values: FloatArray, level: float = LEVEL) -> Ratio:
    """Coefficient of variation of positive values with its interval, as log-normal; NaN with fewer than two.

    Shapes: (n,). The estimate is `cv_of` the standard deviation of the logarithms.
    """
    if values.size < 2 or not (np.isfinite(values).all() and (values > 0.0).all()):
        return Ratio(nan, nan, nan)
    variance = variance_of(np.log(values))
    assert variance is not None
    lo, hi = sd_interval(variance, level)
    return Ratio(cv_of(sqrt(variance.value)), cv_of(lo), cv_of(hi))


def geometric_mean(values: FloatArray) -> float:
    """Geometric mean of positive values, (n,); NaN with none."""
    return exp(sum(map(log, values.tolist())) / values.size) if values.size else nan
