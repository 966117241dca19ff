"""Ratios by luck alone against the normal distribution, and the spread behind an interval."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from anarchy.stats.chance import by_chance, cv_behind


def test_many_launches_are_as_the_normal_distribution_has_it() -> None:
    """One launch a side: the ratio of two log-normals is log-normal."""
    cv, ratio = 0.5, 1.6
    sigma = math.sqrt(2.0 * math.log1p(cv * cv))
    share, upper = by_chance(cv, 1, ratio, seed=1)
    assert share == pytest.approx(float(stats.norm.sf(math.log(ratio) / sigma)), abs=0.004)
    assert share < upper < share + 0.004


def test_more_launches_and_less_spread_show_it_less_often() -> None:
    assert by_chance(0.5, 3, 2.0, seed=1)[0] < by_chance(0.5, 1, 2.0, seed=1)[0]
    assert by_chance(0.2, 3, 2.0, seed=1)[0] < by_chance(0.5, 3, 2.0, seed=1)[0]
    never, upper = by_chance(0.0, 3, 2.0, seed=1)
    assert never == 0.0
    assert 0.0 < upper < 1e-4


def test_the_same_seed_gives_the_same_share() -> None:
    assert by_chance(0.6, 3, 2.0, seed=5, draws=1000) == by_chance(0.6, 3, 2.0, seed=5, draws=1000)


def test_a_ratio_that_is_no_gain_is_refused() -> None:
    with pytest.raises(ValueError, match="no gain"):
        by_chance(0.2, 3, 1.0, seed=1)


def test_the_spread_behind_a_student_interval() -> None:
    sigma = 0.1
    half = float(stats.t.ppf(0.975, 2)) * sigma / math.sqrt(3)
    assert cv_behind(math.exp(-half), math.exp(half), 3) == pytest.approx(math.sqrt(math.expm1(sigma**2)))
    for lo, hi, launches in ((1.0, 2.0, 1), (2.0, 1.0, 3), (0.0, 1.0, 3)):
        with pytest.raises(ValueError, match="tell no spread"):
            cv_behind(lo, hi, launches)
