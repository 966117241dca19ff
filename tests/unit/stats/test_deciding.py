"""How many launches would decide: against intervals that are made again with so many."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anarchy.stats.deciding import cv_bounds, enough, ratio_bounds, student_bounds, student_width
from anarchy.stats.variance import Variance, log_cv_interval, variance_ratio


@pytest.mark.parametrize(
    ("value", "low", "high"), [(12.0, 10.0, 15.0), (9.0, 10.0, 15.0), (16.0, 10.0, 15.0)]
)
def test_one_launch_fewer_does_not_decide(value: float, low: float, high: float) -> None:
    bounds = student_bounds(value, value / 1.5, value * 1.5, 3)
    n = enough(bounds, low, high, 4)
    assert n is not None
    assert n > 4
    for launches, decided in ((n, True), (n - 1, False)):
        lo, hi = bounds(launches)
        assert ((low <= lo and hi <= high) or hi < low or lo > high) == decided


@pytest.mark.parametrize(("value", "low", "high"), [(10.0, 10.0, 15.0), (10.0, 10.0, 10.0)])
def test_no_number_decides_at_the_edge(value: float, low: float, high: float) -> None:
    assert enough(student_bounds(value, 9.0, 11.0, 5), low, high, 6) is None


def test_the_present_number_gives_the_present_interval() -> None:
    assert student_bounds(2.0, 1.5, 2.5, 5)(5) == pytest.approx((1.5, 2.5))
    assert student_width(5) == pytest.approx(2.776 / math.sqrt(5), rel=1e-3)


def test_an_interval_of_a_spread_is_the_one_that_is_shown() -> None:
    values = np.exp([0.1, 0.3, -0.2, 0.05, 0.0])
    shown = log_cv_interval(values)
    assert cv_bounds(shown.value)(5) == pytest.approx((shown.lo, shown.hi))
    assert enough(cv_bounds(0.18), 0.1, 1.13, 3) == 4
    assert enough(cv_bounds(0.02), 0.094, 1.13, 3) == 4, "three reach into it"


def test_a_ratio_of_variances_narrows_with_levels_alone() -> None:
    shown = variance_ratio(Variance(44.0, 15), Variance(1.0, 15))
    assert ratio_bounds(44.0)(16) == pytest.approx((shown.lo, shown.hi))
    levels = enough(ratio_bounds(44.0), 37.0, 58.0, 17)
    assert levels is not None
    assert levels > 200
