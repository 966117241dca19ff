"""The noise of a fitted line, and what it does to a frozen price that is far from the cells of the fit."""

from __future__ import annotations

import numpy as np
import pytest

from anarchy.estimate.fit_noise import FitRows, frozen_draws, line_through, with_fit_noise
from anarchy.games.latency import AffineLatency, fit_affine, summarise_cell
from anarchy.games.requests import FloatArray
from anarchy.games.routing import Windows
from anarchy.stats.intervals import Resampled

M = 2


def cell(rng: np.random.Generator, load: int, windows: int = 60) -> FitRows:
    """Requests at about one load: 40 ms and 1 ms a request in flight, with noise."""
    x = load + rng.integers(-3, 4, (windows, M)).astype(float)
    return FitRows(x, 0.04 + 0.001 * x + rng.normal(0.0, 0.006, x.shape))


def deep(load: int = 96, windows: int = 50) -> Windows:
    shape = (windows, M)
    whole = np.zeros(shape, dtype=np.int64)
    return Windows(whole, np.zeros(windows), whole, np.full(shape, 0.3), np.full(shape, load))


def fitted(reference: list[FitRows]) -> AffineLatency:
    """The line that the estimator fits."""
    return fit_affine(
        [summarise_cell(rows.load.ravel().astype(np.int64), rows.latency.ravel()) for rows in reference]
    )


def frozen(reference: list[FitRows], at: Windows) -> float:
    """The frozen optimum under that line."""
    return float(fitted(reference)(at.load + 1).sum())


def assert_same_line(reference: list[FitRows]) -> None:
    line = fitted(reference)
    assert line_through(reference) == pytest.approx((line.alpha, line.beta), rel=1e-6, abs=1e-12)


def test_the_line_is_that_of_the_estimator() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        assert_same_line([cell(rng, 8, windows=int(rng.integers(5, 90))), cell(rng, 32)])


def test_replicates_are_spread_as_worlds_are() -> None:
    """Over made-up worlds the frozen price varies by what one world's replicates say, which is not little."""
    rng = np.random.default_rng(20261130)
    at = deep()
    worlds = [[cell(rng, 8), cell(rng, 32)] for _ in range(300)]
    prices = np.array([frozen(world, at) for world in worlds])
    told = np.mean([frozen_draws(world, at, replicates=300).std() for world in worlds[:40]])
    truth = prices.std() / prices.mean()
    assert truth > 0.01
    assert told == pytest.approx(truth, rel=0.2)


def test_replicates_lie_about_the_line_that_is_fitted() -> None:
    rng = np.random.default_rng(1)
    reference, at = [cell(rng, 8), cell(rng, 32)], deep()
    draws = frozen_draws(reference, at, replicates=2000, seed=3)
    assert draws.mean() == pytest.approx(1.0, abs=0.01)
    again = frozen_draws(reference, at, replicates=2000, seed=3)
    assert np.array_equal(draws, again), "seeded"
    assert not np.array_equal(draws, frozen_draws(reference, at, replicates=2000, seed=4))


@pytest.mark.parametrize("falls", [True, False])
def test_a_line_has_no_negative_coefficient(falls: bool) -> None:
    """As the fit itself: where latency falls with load the line is flat, where it is steep it starts at 0."""
    x = np.tile(np.arange(1.0, 41.0)[:, None], (1, M))
    reference = [FitRows(x, (0.1 - 0.001 * x) if falls else np.maximum(0.01 * (x - 20.0), 0.0))]
    assert_same_line(reference)
    assert (frozen_draws(reference, deep(), replicates=50) >= 0.0).all()
    level = frozen(reference, deep()) / deep().row.size
    assert level == pytest.approx(0.0795 if falls else 97 * 70.7 / 22140.0, rel=1e-3)


def test_an_interval_grows_by_it() -> None:
    rng = np.random.default_rng(2)
    ratio = Resampled(3.0, rng.normal(3.0, 0.1, 5000), "within-run", 1, 50, 1.0)
    noise: FloatArray = rng.normal(1.0, 0.1, 5000)
    wide = with_fit_noise(ratio, noise)
    assert wide.value == 3.0
    assert wide.draws.std() == pytest.approx(np.hypot(0.1, 0.3), rel=0.1)


def test_without_a_cell_there_is_no_line() -> None:
    empty = FitRows(np.empty((0, M)), np.empty((0, M)))
    with pytest.raises(ValueError, match="no window"):
        frozen_draws([empty], deep(), replicates=10)
