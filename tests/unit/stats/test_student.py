"""Means over launches with Student's interval: how often they hold the truth, and what has none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from anarchy.stats.student import mean_over_launches, next_value


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for values in rng.normal(3.0, 0.4, (2000, 4)):
        _, lo, hi = mean_over_launches(values.tolist())
        held += lo <= 3.0 <= hi
    assert 0.93 < held / 2000 < 0.97


def test_a_ratio_is_a_geometric_mean_and_never_below_zero() -> None:
    value, lo, hi = mean_over_launches([1.0, 4.0, 2.0], ratio=True)
    assert value == pytest.approx(2.0)
    assert 0.0 < lo < value < hi
    assert value / lo == pytest.approx(hi / value)


def test_two_launches_have_no_interval_and_equal_ones_none_of_width() -> None:
    assert mean_over_launches([1.0, 3.0])[0] == 2.0
    assert all(math.isnan(end) for end in mean_over_launches([1.0, 3.0])[1:])
    assert mean_over_launches([2.0, 2.0, 2.0]) == (2.0, 2.0, 2.0)


def test_what_is_infinite_stays_so_and_nothing_has_no_mean() -> None:
    assert mean_over_launches([1.0, math.inf, 2.0], ratio=True)[0] == math.inf
    for values in ([], [0.0, 1.0]):
        with pytest.raises(ValueError, match="no mean"):
            mean_over_launches(values, ratio=True)


def test_the_interval_of_one_more_value_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(6)
    held = 0
    for *values, one_more in rng.normal(3.0, 0.4, (2000, 6)).tolist():
        _, lo, hi = next_value(values)
        held += lo <= one_more <= hi
    assert 0.93 < held / 2000 < 0.97
    value, lo, hi = next_value([1.0, 4.0, 2.0], ratio=True)
    assert value == pytest.approx(2.0)
    assert value / lo == pytest.approx(hi / value)
    assert value / lo == pytest.approx((value / mean_over_launches([1.0, 4.0, 2.0], ratio=True)[1]) ** 2.0)
