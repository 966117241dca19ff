"""The two latency curves: what they recover, how cells weigh, what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import nnls

from anarchy.games.latency import (
    AffineLatency,
    CellSummary,
    FitQuality,
    FullLatency,
    fit_affine,
    fit_full,
    in_reference,
    knots_up_to,
    price,
    summarise_cell,
)

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int_]
Fit = Callable[..., Any]


def quality_of(fitted: AffineLatency | FullLatency) -> FitQuality:
    """How well a curve fits the cells that it was fitted to."""
    assert fitted.quality is not None
    return fitted.quality


def noisy_cells(seed: int = 0) -> list[tuple[Numbers, Floats]]:
    """Three cells of very different sizes and loads: rows (x, latency)."""
    rng = np.random.default_rng(seed)
    cells = []
    for n, top in ((40, 6), (700, 15), (3000, 40)):
        x = rng.integers(1, top + 1, n)
        cells.append((x, 0.02 + 0.004 * x + 0.03 * np.maximum(0, x - 20) + rng.gamma(2.0, 0.005, n)))
    return cells


def raw_fit(design: Floats, cells: Sequence[tuple[Any, Any]]) -> tuple[Floats, float, float]:
    """The fit as defined, row by row: each row weighs 1/N of its cell."""
    root = np.concatenate([np.full(len(x), len(x) ** -0.5) for x, _ in cells])
    latency = np.concatenate([y for _, y in cells])
    coefficients, residual = nnls(root[:, None] * design, root * latency, maxiter=10_000)
    mean = np.average(latency, weights=root**2)
    return coefficients, 1.0 - residual**2 / (root**2 @ (latency - mean) ** 2), residual / len(cells) ** 0.5


def test_affine_fit_of_sums_is_the_fit_of_all_rows() -> None:
    cells = noisy_cells()
    x = np.concatenate([x for x, _ in cells])
    expected, r2, rmse = raw_fit(np.column_stack([np.ones(x.size), x]), cells)
    fitted = fit_affine([summarise_cell(x, y) for x, y in cells])
    np.testing.assert_allclose([fitted.alpha, fitted.beta], expected, rtol=1e-9)
    assert quality_of(fitted).r2 == pytest.approx(r2, rel=1e-9)
    assert quality_of(fitted).rmse == pytest.approx(rmse, rel=1e-9)
    assert (quality_of(fitted).n_rows, quality_of(fitted).n_cells) == (3740, 3)


def test_full_fit_of_sums_is_the_fit_of_all_rows() -> None:
    cells = noisy_cells(1)
    x = np.concatenate([x for x, _ in cells])
    knots = np.asarray(knots_up_to(int(x.max())))
    design = np.column_stack([np.ones(x.size), np.maximum(0.0, x[:, None] - knots)])
    expected, r2, _ = raw_fit(design, cells)
    fitted = fit_full([summarise_cell(x, y) for x, y in cells])
    grid = np.arange(1, 60)
    hinges = np.maximum(0.0, grid[:, None] - knots)
    np.testing.assert_allclose(fitted(grid), expected[0] + hinges @ expected[1:], rtol=1e-6)
    assert quality_of(fitted).r2 == pytest.approx(r2, rel=1e-9)


def test_overlap_fit_of_sums_is_the_fit_of_all_rows() -> None:
    rng = np.random.default_rng(5)
    cells = []
    for n in (50, 900):
        x, z = rng.integers(1, 20, n), rng.integers(0, 9, n) / 8
        cells.append((x, z, 0.2 + 0.01 * x - 0.06 * z + rng.normal(0, 0.01, n)))
    x, z = (np.concatenate([c[k] for c in cells]) for k in (0, 1))
    expected, r2, _ = raw_fit(np.column_stack([np.ones(x.size), x, -z]), [(x, y) for x, _, y in cells])
    fitted = fit_affine([summarise_cell(x, y, omega_overlap=z) for x, z, y in cells])
    np.testing.assert_allclose([fitted.alpha, fitted.beta, fitted.kappa], expected, rtol=1e-8)
    assert fitted.kappa == pytest.approx(0.06, abs=0.01)
    assert quality_of(fitted).r2 == pytest.approx(r2, rel=1e-9)


def test_every_cell_weighs_the_same_however_many_rows_it_has() -> None:
    few = summarise_cell(np.array([1, 2]), np.array([1.0, 2.0]))
    once = summarise_cell(np.array([1, 2]), np.array([3.0, 4.0]))
    often = summarise_cell(np.tile([1, 2], 500), np.tile([3.0, 4.0], 500))
    assert fit_affine([few, once]) == fit_affine([few, often])
    assert fit_affine([few, often])(np.array([1]))[0] == pytest.approx(2.0)


def test_curves_recover_themselves() -> None:
    x = np.arange(1, 30)
    affine = fit_affine([summarise_cell(x, np.asarray(0.3 + 0.02 * x, dtype=np.float64))])
    assert affine.alpha == pytest.approx(0.3)
    assert affine.beta == pytest.approx(0.02)
    truth = FullLatency(0.1, (1.0, 8.0, 21.0), (0.01, 0.05, 0.4))
    fitted = fit_full([summarise_cell(x, truth(x))])
    np.testing.assert_allclose(fitted(x), truth(x), rtol=1e-6)
    assert quality_of(fitted).r2 == pytest.approx(1.0)


def test_fits_stay_convex_and_rising_where_the_data_are_not() -> None:
    x = np.arange(1, 40)
    falling_then_flat = 1.0 + 1.0 / x
    for curve in (
        fit_affine([summarise_cell(x, falling_then_flat)]),
        fit_full([summarise_cell(x, np.sqrt(x))]),
    ):
        values = curve(np.arange(0, 80))
        assert (np.diff(values) >= 0).all()
        assert (np.diff(values, 2) >= -1e-9).all()
        assert (values >= 0).all()


def test_a_change_of_units_changes_only_the_units() -> None:
    cells = noisy_cells(2)
    x = np.arange(1, 50)
    for fit in (fit_affine, fit_full):
        seconds = fit([summarise_cell(x, y) for x, y in cells])
        for unit in (1e3, 1e-6):
            other = fit([summarise_cell(x, unit * y) for x, y in cells])
            np.testing.assert_allclose(other(x), unit * seconds(x), rtol=1e-9)


def overlapping_cells(
    truth: AffineLatency | FullLatency, kappa: float, noise: float = 0.0
) -> list[tuple[Numbers, Floats, Floats]]:
    rng = np.random.default_rng(6)
    cells = []
    for n in (400, 3000):
        x, z = rng.integers(1, 30, n), rng.integers(0, 5, n) / 4
        cells.append((x, z, truth(x) - kappa * z + noise * rng.normal(size=n)))
    return cells


def test_full_curve_is_that_of_requests_without_overlap() -> None:
    truth, kappa = FullLatency(0.5, (1.0, 8.0, 21.0), (0.01, 0.05, 0.4)), 0.3
    cells = [summarise_cell(x, y, omega_overlap=z) for x, z, y in overlapping_cells(truth, kappa)]
    x = np.arange(1, 30)
    fitted = fit_full(cells, kappa)
    np.testing.assert_allclose(fitted(x), truth(x), rtol=1e-6)
    assert quality_of(fitted).r2 == pytest.approx(1.0)
    assert (fit_full(cells)(x) < truth(x)).all()  # the credit, taken for a shorter queue


def test_affine_and_full_fit_together_recover_curve_and_kappa() -> None:
    truth, kappa = AffineLatency(0.5, 0.02, 0.3), 0.3
    cells = [summarise_cell(x, y, omega_overlap=z) for x, z, y in overlapping_cells(truth, kappa)]
    affine = fit_affine(cells)
    assert affine.kappa == pytest.approx(kappa)
    np.testing.assert_allclose(fit_full(cells, affine.kappa)(np.arange(1, 30)), truth(np.arange(1, 30)))


def test_quality_of_the_full_fit_speaks_of_the_adjusted_latency() -> None:
    truth, kappa = FullLatency(0.5, (1.0, 8.0), (0.01, 0.05)), 0.3
    cells = overlapping_cells(truth, kappa, noise=0.05)
    with_overlap = fit_full([summarise_cell(x, y, omega_overlap=z) for x, z, y in cells], kappa)
    adjusted = fit_full([summarise_cell(x, y + kappa * z) for x, z, y in cells])
    np.testing.assert_allclose(with_overlap(np.arange(1, 30)), adjusted(np.arange(1, 30)), rtol=1e-9)
    assert quality_of(with_overlap).r2 == pytest.approx(quality_of(adjusted).r2, rel=1e-9)
    assert quality_of(with_overlap).rmse == pytest.approx(quality_of(adjusted).rmse, rel=1e-9)


def test_kappa_changes_nothing_without_overlap() -> None:
    cells = [summarise_cell(x, y) for x, y in noisy_cells()]
    plain, priced = fit_full(cells), fit_full(cells, kappa=7.0)
    assert plain == priced
    assert plain.quality == priced.quality


@pytest.mark.parametrize("kappa", [-0.1, np.nan, np.inf])
def test_a_kappa_that_is_no_price_is_refused(kappa: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        fit_full([summarise_cell(np.array([1, 2]), np.array([1.0, 2.0]))], kappa)


def test_knots_are_the_distinct_rounded_geometric_grid() -> None:
    assert knots_up_to(3) == (1.0, 2.0, 3.0, 4.0)
    knots = knots_up_to(500)
    assert knots == tuple(sorted({float(round(k)) for k in np.geomspace(1, 501, 64)}))
    assert (knots[0], knots[-1]) == (1.0, 501.0)


def test_knots_reach_to_the_largest_load_on_any_worker() -> None:
    x = np.array([1, 2, 3])
    assert fit_full([summarise_cell(x, 1.0 * x, top=9)]).knots == knots_up_to(9)


def test_missing_overlap_earns_no_credit() -> None:
    x, y, z = np.array([1, 2, 3]), np.array([1.0, 2.0, 3.0]), np.array([np.nan, 0.0, np.nan])
    assert summarise_cell(x, y, omega_overlap=z).omega_overlap.tolist() == [0.0, 0.0, 0.0]


def test_an_empty_cell_is_no_cell() -> None:
    some = summarise_cell(np.array([1, 2]), np.array([1.0, 2.0]))
    none = summarise_cell(np.empty(0, dtype=np.int64), np.empty(0))
    assert quality_of(fit_affine([none, some])).n_cells == 1


@pytest.mark.parametrize("fit", [fit_affine, fit_full])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "nothing to fit"),
        ([([], [])], "nothing to fit"),
        ([([4, 4, 4], [1.0, 2.0, 3.0])], "the load 4"),
        ([([1, 2], [0.0, 0.0])], "every latency is zero"),
    ],
)
def test_nothing_to_fit_is_refused(fit: Fit, rows: Any, message: str) -> None:
    cells = [summarise_cell(np.array(x, dtype=np.int64), np.array(y, dtype=float)) for x, y in rows]
    with pytest.raises(ValueError, match=message):
        fit(cells)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1.0], "pair up"),
        ([0, 2], [1.0, 1.0], "at least 1"),
        ([1, 2], [1.0, np.nan], "finite"),
        ([1, 2], [1.0, -1.0], "at least 0"),
    ],
)
def test_bad_rows_are_refused(x: Any, y: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise_cell(np.array(x), np.array(y))


def test_bad_coefficients_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        AffineLatency(-1.0, 0.0)
    with pytest.raises(ValueError, match="finite"):
        FullLatency(np.nan)
    with pytest.raises(ValueError, match="2 knots but 1 slopes"):
        FullLatency(1.0, (1.0, 2.0), (0.5,))


def test_a_credit_takes_at_most_nine_tenths() -> None:
    np.testing.assert_allclose(price(np.array([10.0, 10.0, 10.0]), np.array([0.0, 4.0, 50.0])), [10, 6, 1])
    costs = np.linspace(0.0, 5.0, 100)
    assert (np.diff(price(costs, 2.0)) > 0).all()


def test_reference_cells_lie_between_the_artifact_and_c_ref() -> None:
    assert [in_reference(c, 5) for c in (7, 8, 64, 65)] == [False, True, True, False]
    assert not in_reference(8, 16)
    assert in_reference(96, 5, c_ref=96)


def test_quality_inside_cells_tells_a_slope_between_cells_from_one_within() -> None:
    rng = np.random.default_rng(0)

    def cells(within: float) -> list[CellSummary]:
        made = []
        for level in (1.0, 10.0):
            x = rng.integers(int(level), int(level) + 6, 500)
            latency = 5.0 + level + within * (x - x.mean()) + rng.normal(0.0, 0.1, 500)
            made.append(summarise_cell(x, latency))
        return made

    follows, ignores = quality_of(fit_full(cells(1.0))), quality_of(fit_full(cells(0.0)))
    assert follows.r2_within > 0.95
    assert ignores.r2 > 0.8  # from the difference between the cells alone
    assert ignores.r2_within < 0.0
    flat = [summarise_cell(np.full(5, x), np.full(5, float(x))) for x in (1, 2)]
    assert np.isnan(quality_of(fit_affine(flat)).r2_within)
