"""A line over one over the dilation finds what is there without noise, as often as its interval says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from anarchy.stats.quiet import at_no_noise, pooled_errors

DILATIONS = (2.0, 4.0, 8.0, 16.0)
LAUNCHES = 3
TRIES = 2000


def test_values_on_a_line_are_carried_on_exactly() -> None:
    found = at_no_noise(DILATIONS, [300.0 - 200.0 / d for d in DILATIONS], [5.0] * 4, 8)
    assert found.value == pytest.approx(300.0)
    assert found.slope == pytest.approx(-200.0)
    assert found.lo < 300.0 < found.hi
    assert found.p_line == pytest.approx(1.0)


def test_the_interval_is_that_of_the_textbook() -> None:
    values, errors = [200.0, 250.0, 280.0, 290.0], [3.0, 4.0, 5.0, 6.0]
    found = at_no_noise(DILATIONS, values, errors, 1e9)
    x, w = 1.0 / np.asarray(DILATIONS), 1.0 / np.square(errors)
    center = np.average(x, weights=w)
    spread = np.sum(w * (x - center) ** 2)
    slope = np.sum(w * (x - center) * np.asarray(values)) / spread
    value = np.average(values, weights=w) - slope * center
    chi2 = np.sum(w * (np.asarray(values) - value - slope * x) ** 2)
    half = 1.959964 * np.sqrt((1.0 / w.sum() + center**2 / spread) * max(1.0, chi2 / 2))
    assert (found.value, found.slope) == pytest.approx((value, slope))
    assert (found.lo, found.hi) == pytest.approx((value - half, value + half), rel=1e-5)
    assert found.p_line == pytest.approx(stats.chi2.sf(chi2, 2), rel=1e-4)


def test_the_interval_holds_a_known_truth_as_often_as_it_says() -> None:
    """Three launches at each dilation, errors estimated from them, on the scale that estimates use."""
    rng = np.random.default_rng(1)
    truth, slope = 265.0, -220.0
    means = truth + slope / np.asarray(DILATIONS)
    held = 0
    for _ in range(TRIES):
        logs = np.log(means)[:, None] + rng.normal(0.0, 0.05, (len(DILATIONS), LAUNCHES))
        middle, error = logs.mean(axis=1), logs.std(axis=1, ddof=1) / np.sqrt(LAUNCHES)
        half = stats.t.ppf(0.975, LAUNCHES - 1) * error
        values, lows, highs = (np.exp(row).tolist() for row in (middle, middle - half, middle + half))
        errors, df = pooled_errors(values, lows, highs, [LAUNCHES] * len(DILATIONS))
        found = at_no_noise(DILATIONS, values, errors, df)
        held += found.lo <= truth <= found.hi
    assert 0.93 <= held / TRIES <= 0.98


def test_what_is_no_line_is_told_and_widens_the_interval() -> None:
    straight = at_no_noise(DILATIONS, [100.0, 150.0, 175.0, 187.5], [2.0] * 4, 8)
    bent = at_no_noise(DILATIONS, [100.0, 200.0, 150.0, 210.0], [2.0] * 4, 8)
    assert straight.p_line > 0.9
    assert bent.p_line < 1e-4
    assert bent.hi - bent.lo > 5 * (straight.hi - straight.lo)


def test_errors_are_pooled_as_shares_of_the_value() -> None:
    half = stats.t.ppf(0.975, 2) * 0.1  # a standard error of a tenth, and one of none to speak of
    lows, highs = [50.0 * np.exp(-half), 10.0 * np.exp(-1e-9)], [50.0 * np.exp(half), 10.0 * np.exp(1e-9)]
    errors, df = pooled_errors([50.0, 10.0], lows, highs, [3, 3])
    assert errors == pytest.approx([50.0 * 0.1 / np.sqrt(2), 10.0 * 0.1 / np.sqrt(2)])
    assert df == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"dilations": (2.0, 2.0, 4.0, 4.0)},
        {"values": (1.0, 2.0)},
        {"errors": (1.0, 1.0, 0.0, 1.0)},
        {"dilations": (0.0, 1.0, 2.0, 3.0)},
        {"df": 0.0},
    ],
)
def test_what_tells_no_line_is_refused(wrong: dict[str, Any]) -> None:
    given = {"dilations": DILATIONS, "values": (1.0, 2.0, 3.0, 4.0), "errors": (1.0,) * 4, "df": 8.0}
    with pytest.raises(ValueError, match=r"want 3 dilations|lie above 0"):
        at_no_noise(**{**given, **wrong})


@pytest.mark.parametrize(("lo", "hi", "launches"), [(1.0, 2.0, 1), (2.0, 1.0, 3), (0.0, 1.0, 3)])
def test_an_interval_that_tells_no_error_is_refused(lo: float, hi: float, launches: int) -> None:
    with pytest.raises(ValueError, match="want two launches"):
        pooled_errors([1.5], [lo], [hi], [launches])
