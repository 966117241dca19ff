"""The knee: found where it is, within its interval, and not invented where there is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from anarchy.stats.knee import find_knee, first_at_or_above, kneedle, regime, ttft_crossing, two_segments

GRID = np.array([1, 2, 4, 8, 16, 32, 64, 96, 112, 128, 160, 192, 256, 384, 512])

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int_]


def ladder(
    C: Numbers = GRID, knee: float = 110.0, level: float = 15.0, before: float = 0.0, after: float = 2.0
) -> Floats:
    bend = np.maximum(0.0, np.log(C / knee))
    return level * (C / 64.0) ** before * np.exp((after - before) * bend)


def noisy(poa: Floats, sd: float, seed: int = 0, replicates: int = 800) -> tuple[Floats, Floats]:
    """An observed ladder and bootstrap draws round it, with the noise that the observation has."""
    rng = np.random.default_rng(seed)
    seen = poa * np.exp(rng.normal(0.0, sd, poa.size))
    return seen, seen * np.exp(rng.normal(0.0, sd, (replicates, poa.size)))


@pytest.mark.parametrize("knee", [40.0, 96.0, 110.0, 128.0, 200.0])
def test_exact_knee_is_found_on_and_between_grid_points(knee: float) -> None:
    poa = ladder(knee=knee, before=0.05)
    found = find_knee(GRID, poa, np.tile(poa, (200, 1)))
    assert found.exists
    assert found.knee == pytest.approx(knee, rel=0.01)
    assert found.slope_before == pytest.approx(0.05, abs=0.02)
    assert found.slope_after == pytest.approx(2.0, abs=0.03)
    assert found.growth == pytest.approx((512 / knee) ** 1.95, rel=0.05)
    assert found.improvement > 0.99


def test_a_knee_on_a_grid_point_is_its_own_first_post_knee_point() -> None:
    poa = ladder(knee=128.0)
    found = find_knee(GRID, poa, np.tile(poa, (50, 1)))
    assert found.first_post_knee == 128
    assert regime(100, 128, 5, found.knee) == "growth"


def test_noisy_knee_lies_in_its_interval() -> None:
    hits = 0
    for seed in range(40):
        seen, draws = noisy(ladder(), 0.08, seed, 300)
        found = find_knee(GRID, seen, draws)
        assert found.exists
        assert found.lo is not None
        assert found.knee is not None
        assert found.hi is not None
        assert found.lo <= found.knee <= found.hi
        hits += found.lo <= 110.0 <= found.hi
    assert hits >= 34
    assert found.first_post_knee in (96, 112, 128)


@pytest.mark.parametrize("sd", [0.005, 0.05, 0.18])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_no_knee_is_invented_on_one_line(sd: float, slope: float) -> None:
    found = [find_knee(GRID, *noisy(ladder(before=slope, after=slope), sd, seed, 200)) for seed in range(40)]
    assert sum(f.exists for f in found) <= 2
    refused = next(f for f in found if not f.exists)
    assert refused.reason
    assert (refused.knee, refused.lo, refused.hi, refused.first_post_knee) == (None, None, None, None)
    assert np.isfinite([refused.slope_before, refused.slope_after]).all()


def test_exactly_flat_and_exactly_straight_have_no_knee() -> None:
    for slope in (0.0, 0.7):
        poa = ladder(before=slope, after=slope)
        assert not find_knee(GRID, poa, np.tile(poa, (100, 1))).exists


def test_a_curve_that_bends_down_has_no_knee() -> None:
    poa = ladder(before=1.0, after=0.1)
    found = find_knee(GRID, poa, np.tile(poa, (100, 1)))
    assert not found.exists
    assert found.slope_after == found.slope_before


def test_low_concurrency_and_missing_cells_are_left_out() -> None:
    poa = ladder()
    wild = poa.copy()
    wild[GRID < 8] *= 1000.0
    wild[5] = np.nan
    draws = np.tile(wild, (50, 1))
    draws[:, 6] = np.nan
    assert find_knee(GRID, wild, draws).knee == pytest.approx(110.0, rel=0.02)


def test_order_of_the_grid_is_of_no_matter() -> None:
    seen, draws = noisy(ladder(), 0.05)
    shuffle = np.random.default_rng(0).permutation(GRID.size)
    assert find_knee(GRID[shuffle], seen[shuffle], draws[:, shuffle]) == find_knee(GRID, seen, draws)


def test_too_few_points_are_said_to_be_too_few() -> None:
    C = np.array([4, 8, 64, 128])
    found = find_knee(C, np.ones(4), np.ones((10, 4)))
    assert not found.exists
    assert "3 usable grid points" in found.reason
    assert not find_knee(GRID, ladder(), np.empty((0, GRID.size))).exists


def test_four_points_are_enough_for_a_plain_knee() -> None:
    C = np.array([16, 64, 128, 512])
    found = find_knee(C, *noisy(ladder(C), 0.03))
    assert found.exists
    assert found.knee is not None
    assert 64 <= found.knee <= 128


def test_breakpoint_is_the_best_of_all_by_exhaustive_least_squares() -> None:
    rng = np.random.default_rng(2)
    C = GRID[3:].astype(float)
    poa = ladder(C) * np.exp(rng.normal(0, 0.2, (20, C.size)))
    fit = two_segments(C, poa)
    x = np.log(C)
    for r in range(20):
        best = min(
            (
                np.linalg.lstsq(np.column_stack([np.ones(x.size), x, np.maximum(0, x - b)]), y, rcond=None)
                for b in np.linspace(x[1], x[-2], 600)
                for y in [np.log(poa[r])]
            ),
            key=lambda solved: solved[1][0] if solved[0][2] > 0 else np.inf,
        )
        assert fit.sse[r] == pytest.approx(best[1][0], rel=0.01)
        assert fit.slope_after[r] - fit.slope_before[r] == pytest.approx(best[0][2], rel=0.05)


@pytest.mark.parametrize(
    ("C", "poa"),
    [
        ([1.0, 2.0, 3.0], np.ones((1, 3))),
        ([1.0, 2.0, 2.0, 3.0], np.ones((1, 4))),
        ([0.0, 1.0, 2.0, 3.0], np.ones((1, 4))),
        ([1.0, 2.0, 3.0, 4.0], np.zeros((1, 4))),
        ([1.0, 2.0, 3.0, 4.0], np.ones((1, 5))),
    ],
)
def test_fit_refuses_what_has_no_logarithm_or_no_order(C: list[float], poa: Floats) -> None:
    with pytest.raises(ValueError, match="C "):
        two_segments(np.array(C), poa)


def test_knee_refuses_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="draws"):
        find_knee(GRID, ladder(), np.ones((10, 3)))
    with pytest.raises(ValueError, match="twice"):
        find_knee(np.array([8, 8, 16, 32]), np.ones(4), np.ones((10, 4)))


def test_kneedle_stands_beside() -> None:
    found = kneedle(GRID, ladder())
    assert found is not None
    assert 64 <= found <= 192
    assert kneedle(GRID, np.full(GRID.size, 4.0)) is None
    assert kneedle(GRID[:4], ladder()[:4]) is None


def test_first_crossing_of_twice_the_ttft_plateau() -> None:
    ttft = np.where(GRID <= 96, 0.1, 0.1 * GRID / 50.0)
    assert ttft_crossing(GRID, ttft) == 112
    assert ttft_crossing(GRID, np.full(GRID.size, 0.1)) is None
    assert ttft_crossing(GRID, np.full(GRID.size, np.nan)) is None
    hole = ttft.copy()
    hole[GRID == 112] = np.nan
    assert ttft_crossing(GRID, hole) == 128
    assert ttft_crossing(GRID[::-1], ttft[::-1]) == 112


def test_first_grid_point_at_or_above() -> None:
    assert first_at_or_above(GRID, float(np.exp(np.log(96.0))) * (1 + 1e-12)) == 96
    assert first_at_or_above(GRID, 97.0) == 112
    assert first_at_or_above(GRID, 600.0) is None


@pytest.mark.parametrize(
    ("n_windows", "C", "m", "knee", "expected"),
    [
        (29, 64, 5, 100.0, "artifact"),
        (30, 4, 5, 100.0, "artifact"),
        (30, 5, 5, 100.0, "plateau"),
        (500, 96, 5, 100.0, "plateau"),
        (500, 100, 5, 100.0, "growth"),
        (500, 512, 5, None, "plateau"),
        (0, 512, 5, 100.0, "artifact"),
    ],
)
def test_regimes(n_windows: int, C: int, m: int, knee: float | None, expected: str) -> None:
    assert regime(n_windows, C, m, knee) == expected
