"""How often launches that differ by luck alone show a ratio between two policies that are alike."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from anarchy.stats.deciding import student_width
from anarchy.stats.intervals import FloatArray

DRAWS: Final = 200_000
"""Simulated comparisons: a share of one in a thousand is known to 7 %."""


def by_chance(cv: float, launches: int, ratio: float, seed: int, draws: int = DRAWS) -> tuple[float, float]:
    """Share of comparisons without an effect whose ratio of means is at least `ratio`, and its upper bound.

    Each side is the mean over `launches` of a log-normal quantity whose coefficient of variation is `cv`.
    The bound is Clopper and Pearson's, one-sided, 95 %. Errors: ValueError on a ratio that is not above 1.
    """
    from scipy import stats  # a second to load, and every call of Snakemake loads this

    if ratio <= 1.0:
        raise ValueError(f"a ratio of {ratio:g} is no gain: want more than 1")
    rng = np.random.default_rng(seed)
    sigma = math.sqrt(math.log1p(cv * cv))
    means: FloatArray = np.exp(rng.normal(0.0, sigma, (2, draws, launches))).mean(axis=2)
    hits = int(np.count_nonzero(means[0] >= ratio * means[1]))
    upper = 1.0 if hits == draws else float(stats.beta.ppf(0.95, hits + 1, draws - hits))
    return hits / draws, upper


def cv_behind(lo: float, hi: float, launches: int) -> float:
    """CV from launch to launch of a quantity whose mean over launches has the 95 % Student interval lo to hi.

    On the scale of logarithms, as `stats.intervals` spreads it. Errors: ValueError on less than two launches,
    or ends that are not above 0 and ascending.
    """
    if launches < 2 or not 0.0 < lo <= hi:
        raise ValueError(f"{launches} launches with an interval from {lo:g} to {hi:g} tell no spread")
    half = math.log(hi / lo) / 2.0
    sigma = half / student_width(launches)
    return math.sqrt(math.expm1(sigma * sigma))
