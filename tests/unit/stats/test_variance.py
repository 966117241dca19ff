"""Spreads of a few values: coverage on simulated normal data, and textbook values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2
from scipy.stats import f as fisher

from anarchy.stats.variance import (
    Variance,
    cv_of,
    level_effect,
    level_noise,
    levels_own_bounds,
    log_cv_interval,
    sd_interval,
    sd_upper_bound,
    variance_of,
    variance_ratio,
)

RUNS = 2_000


def drawn(rng: np.random.Generator, sd: float, n: int) -> Variance:
    found = variance_of(rng.normal(0.0, sd, n))
    assert found is not None
    return found


@pytest.mark.parametrize("n", [3, 16])
def test_interval_of_a_standard_deviation_covers(n: int) -> None:
    rng = np.random.default_rng(1)
    held = [lo <= 2.0 <= hi for lo, hi in (sd_interval(drawn(rng, 2.0, n)) for _ in range(RUNS))]
    assert 0.935 < np.mean(held) < 0.965


def test_interval_of_a_standard_deviation_is_the_textbooks() -> None:
    lo, hi = sd_interval(Variance(4.0, 2))
    assert lo == pytest.approx(2.0 * np.sqrt(2 / chi2.ppf(0.975, 2)))
    assert hi == pytest.approx(2.0 * np.sqrt(2 / chi2.ppf(0.025, 2)))


@pytest.mark.parametrize(("over", "under"), [(1.0, 1.0), (6.0, 1.0)])
def test_interval_of_a_variance_ratio_covers(over: float, under: float) -> None:
    rng = np.random.default_rng(2)
    ratios = [variance_ratio(drawn(rng, over, 16), drawn(rng, under, 16)) for _ in range(RUNS)]
    assert 0.935 < np.mean([r.lo <= (over / under) ** 2 <= r.hi for r in ratios]) < 0.965


def test_interval_of_a_variance_ratio_is_wide_where_levels_move_together() -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(RUNS):
        levels = rng.normal(0.0, 1.0, 16)
        one, two = (variance_of(levels + rng.normal(0.0, 0.3, 16)) for _ in range(2))
        assert one is not None
        assert two is not None
        ratio = variance_ratio(one, two)
        held.append(ratio.lo <= 1.0 <= ratio.hi)
    assert np.mean(held) > 0.99


def test_a_ratio_to_nothing_is_unknown() -> None:
    assert np.isnan(variance_ratio(Variance(1.0, 15), Variance(0.0, 15)).value)


@pytest.mark.parametrize("repeats", [3, 8])
def test_without_an_effect_the_test_is_wrong_as_often_as_it_says(repeats: int) -> None:
    rng = np.random.default_rng(4)
    found = [level_effect(drawn(rng, 0.02, 16), drawn(rng, 0.02, repeats)) for _ in range(RUNS)]
    assert 0.035 < np.mean([effect.p_value < 0.05 for effect in found]) < 0.065
    # The bound holds the noise: an effect as large as the noise could hide in it, a larger one not.
    bounds = np.array([effect.sd_bound for effect in found])
    assert 0.93 < np.mean(bounds >= 0.02) < 0.97
    assert np.median(bounds) < 0.04


@pytest.mark.parametrize("effect", [0.01, 0.02, 0.1])
def test_the_bound_holds_the_effect(effect: float) -> None:
    rng = np.random.default_rng(5)
    found = [
        level_effect(drawn(rng, float(np.hypot(effect, 0.02)), 16), drawn(rng, 0.02, 5)) for _ in range(RUNS)
    ]
    assert np.mean([one.sd_bound >= effect for one in found]) > 0.94
    if effect == 0.1:
        assert np.mean([one.p_value < 0.05 for one in found]) > 0.95
        assert np.median([one.sd for one in found]) == pytest.approx(effect, rel=0.1)


def test_the_test_is_f() -> None:
    found = level_effect(Variance(6.0, 15), Variance(2.0, 4))
    assert found.f == pytest.approx(3.0)
    assert found.p_value == pytest.approx(fisher.sf(3.0, 15, 4))
    assert found.sd == pytest.approx(2.0)
    assert found.sd_bound == pytest.approx(sd_upper_bound(Variance(6.0, 15)))
    assert found.sd_bound == pytest.approx(np.sqrt(6.0 * 15 / chi2.ppf(0.05, 15)))


def test_without_noise_there_is_a_bound_and_no_test() -> None:
    found = level_effect(Variance(6.0, 15), None)
    assert np.isnan(found.p_value)
    assert found.sd_bound > np.sqrt(6.0)


def test_noise_between_launches_leaves_out_what_launches_and_levels_have_of_their_own() -> None:
    levels, launches = np.arange(4.0)[:, None], np.array([[5.0, 1.0, -3.0]])
    assert level_noise(levels + launches).value == pytest.approx(0.0)  # type: ignore[union-attr]
    rng = np.random.default_rng(6)
    found = [level_noise(levels + launches + rng.normal(0.0, 0.3, (4, 3))) for _ in range(RUNS)]
    assert np.mean([one.value for one in found if one]) == pytest.approx(0.09 / 3, rel=0.05)
    assert found[0] is not None
    assert found[0].df == 6
    assert level_noise(levels) is None


def test_cv_of_few_positive_values() -> None:
    found = log_cv_interval(np.array([66.4, 80.1, 55.0]))
    assert found.lo < found.value < found.hi
    assert found.value == pytest.approx(0.19, abs=0.02)
    assert np.isnan(log_cv_interval(np.array([1.0])).value)
    assert np.isnan(log_cv_interval(np.array([1.0, 0.0])).value)
    assert cv_of(0.01) == pytest.approx(0.01, rel=1e-3)
    assert np.isfinite(cv_of(1e3))


PAIRS, LAUNCHES = 16, 5


@pytest.mark.parametrize("uneven", [False, True], ids=["even noise", "noise of half the levels doubled"])
@pytest.mark.parametrize("effect", [0.0, 0.5, 2.0, 10.0])
def test_bounds_of_fixed_levels_hold_their_own_spread(effect: float, uneven: bool) -> None:
    rng = np.random.default_rng(7)
    levels = np.linspace(-1.0, 1.0, PAIRS)
    levels *= effect / levels.std(ddof=1)
    noise = np.where(np.arange(PAIRS) % 2 == 0, 1.0, 2.0 if uneven else 1.0)[:, None]
    below, above = [], []
    for _ in range(RUNS):
        table = (
            levels[:, None] + rng.normal(0.0, 1.0, LAUNCHES) + noise * rng.normal(0.0, 1.0, (PAIRS, LAUNCHES))
        )
        between, of_noise = variance_of(table.mean(axis=1)), level_noise(table)
        assert between is not None
        assert of_noise is not None
        f = between.value / of_noise.value
        lo, hi = levels_own_bounds(f, between.df, of_noise.df, np.sqrt(of_noise.value))
        below.append(lo <= effect)
        above.append(effect <= hi)
    held = 0.90 if uneven else 0.93  # the noise is taken to be even
    assert np.mean(below) > held
    assert np.mean(above) > held


def test_bounds_of_fixed_levels_close_on_their_spread_as_noise_goes() -> None:
    lo, hi = levels_own_bounds(1e6, 15, 60, 1e-3)
    assert lo < 1.0 < hi
    assert hi / lo < 1.4


def test_no_level_differs_where_f_is_smaller_than_noise_makes_it() -> None:
    assert levels_own_bounds(0.01, 15, 60, 1.0) == (0.0, 0.0)


@pytest.mark.parametrize(("f", "noise_sd"), [(0.0, 1.0), (math.nan, 1.0), (2.0, 0.0)])
def test_bounds_of_fixed_levels_need_noise_and_spread(f: float, noise_sd: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        levels_own_bounds(f, 15, 60, noise_sd)
