"""The two latency curves of the routing game, fitted by non-negative least squares.

Both take x = load on the worker, the request itself counted, and give seconds. Every cell has the same total
weight in a fit, however many requests it holds. A cell is reduced to one row for each distinct load before
the fit; the weighted mean and the scatter round it carry the least-squares problem over unchanged, so the
fit of millions of requests costs no more than the number of loads seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .requests import FloatArray, IntArray

N_KNOTS = 64
PRICE_FLOOR = 0.1


@dataclass(frozen=True)
class FitQuality:
    """How well a curve describes its rows: weighted R2, weighted RMSE in seconds, rows and cells used.

    `r2_within` is R2 with the cells' means taken out of both sides: how much of the variance *inside* cells
    the load on the chosen worker explains. That is the part which routing can act on; a curve may have an
    `r2` near 1 from the differences between cells alone. NaN where latencies do not vary inside cells.
    """

    r2: float
    r2_within: float
    rmse: float
    n_rows: int
    n_cells: int


@dataclass(frozen=True)
class AffineLatency:
    """Affine latency `l_A(x) = alpha + beta x` and the overlap credit's price kappa, in seconds.

    Errors: ValueError on a negative or non-finite coefficient.
    Source: the frozen cost matrix of PoA-hat, arXiv 2606.17081; fit range and weights are ours.
    """

    alpha: float
    beta: float
    kappa: float = 0.0
    quality: FitQuality | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_coefficients("l_A", (self.alpha, self.beta, self.kappa))

    def __call__(self, x: FloatArray | IntArray) -> FloatArray:
        """Latency in seconds at each load; the shape of `x`."""
        return np.asarray(self.alpha + self.beta * np.asarray(x), dtype=np.float64)


@dataclass(frozen=True)
class FullLatency:
    """Full latency `l_F(x) = c0 + sum_k b_k max(0, x - k)`: convex and non-decreasing, so x l_F(x) is convex.

    Errors: ValueError on a negative or non-finite coefficient or on knots and slopes that do not pair up.
    Source: ours (the curve behind PoA-cal).
    """

    c0: float
    knots: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    quality: FitQuality | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_coefficients("l_F", (self.c0, *self.slopes))
        if len(self.knots) != len(self.slopes):
            raise ValueError(f"l_F has {len(self.knots)} knots but {len(self.slopes)} slopes")

    def __call__(self, x: FloatArray | IntArray) -> FloatArray:
        """Latency in seconds at each load; the shape of `x`."""
        hinges = np.maximum(0.0, np.asarray(x, dtype=np.float64)[..., None] - np.asarray(self.knots))
        return np.asarray(self.c0 + hinges @ np.asarray(self.slopes), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class CellSummary:
    """One cell's rows for a fit, reduced to distinct regressors; the weights sum to 1.

    Shapes: every array (rows,). `x` load, the request included; `omega_overlap` = omega_i o_ij of the chosen
    worker; `latency` the mean in seconds; `scatter` the weighted squared deviation from these means, summed
    over the whole cell; `top` the largest load on any worker, plus one; `n_rows` the requests behind it.
    """

    x: FloatArray
    omega_overlap: FloatArray
    latency: FloatArray
    weight: FloatArray
    scatter: float
    top: int
    n_rows: int


def price(cost: FloatArray, credit: FloatArray | float) -> FloatArray:
    """Cost less the overlap credit, which takes at most 90 % of it: `max(0.1 c, c - credit)`.

    Shapes: broadcast together. Units: seconds. Positive and rising in `cost` for every credit >= 0 (ours).
    """
    return np.maximum(PRICE_FLOOR * cost, cost - credit)


def in_reference(concurrency: int, n_workers: int, c_ref: int = 64) -> bool:
    """Whether a cell belongs to the affine fit: `max(8, m) <= C <= C_ref`.

    Below lies the low-load artifact; C_ref must lie below the knee (ours).
    """
    return max(8, n_workers) <= concurrency <= c_ref


def summarise_cell(
    x: IntArray, latency: FloatArray, *, omega_overlap: FloatArray | None = None, top: int | None = None
) -> CellSummary:
    """Reduce one cell's rows to one row for each distinct load (and overlap), each request weighing 1/N.

    Shapes: x, latency, omega_overlap (N,), N >= 0; x >= 1. `top` defaults to the largest x.
    Errors: ValueError on rows that do not pair up, a load under 1, a latency that is missing or negative.
    """
    overlap = np.zeros(x.size) if omega_overlap is None else np.nan_to_num(omega_overlap, nan=0.0)
    if not x.shape == latency.shape == overlap.shape:
        raise ValueError(f"rows of a fit must pair up: x {x.shape}, latency {latency.shape}, {overlap.shape}")
    if (x < 1).any() or not np.isfinite(latency).all() or (latency < 0).any():
        raise ValueError("rows of a fit need a load of at least 1 and a finite latency of at least 0")
    if overlap.any():
        keys, group = np.unique(np.column_stack([x, overlap]), axis=0, return_inverse=True)
    else:
        loads, group = np.unique(x, return_inverse=True)
        keys = np.column_stack([loads, np.zeros(loads.size)]).astype(np.float64)
    count = np.bincount(group, minlength=len(keys))
    mean = np.bincount(group, weights=latency, minlength=len(keys)) / np.maximum(count, 1)
    n = max(x.size, 1)
    return CellSummary(
        x=keys[:, 0],
        omega_overlap=keys[:, 1],
        latency=mean,
        weight=count / n,
        scatter=float(((latency - mean[group]) ** 2).sum() / n),
        top=int(x.max(initial=0)) if top is None else top,
        n_rows=int(x.size),
    )


def knots_up_to(top: int) -> tuple[float, ...]:
    """Knots of the full curve: the distinct values of `round(geomspace(1, X + 1, 64))`, X = `top` (ours)."""
    return tuple(np.unique(np.round(np.geomspace(1.0, top + 1.0, N_KNOTS))).tolist())


def fit_affine(cells: Sequence[CellSummary]) -> AffineLatency:
    """Fit `alpha + beta x - kappa omega o` with all three >= 0, every cell weighing the same.

    Errors: ValueError when no row is there, all rows have one load, or every latency is zero.
    Source: ours; the fit is linear, so the floor of `price` is not part of it.
    """
    rows = _stack(cells, "the affine curve")
    columns = [np.ones(rows.x.size), rows.x]
    if rows.omega_overlap.any():
        columns.append(-rows.omega_overlap)
    coefficients, quality = _weighted_nnls(np.column_stack(columns), rows, "the affine curve")
    kappa = coefficients[2] if len(columns) > 2 else 0.0
    return AffineLatency(float(coefficients[0]), float(coefficients[1]), float(kappa), quality)


def fit_full(cells: Sequence[CellSummary], kappa: float = 0.0) -> FullLatency:
    """Fit `c0 + sum_k b_k max(0, x - k)` with all coefficients >= 0, every cell weighing the same.

    The target is the latency as it would be without overlap, `latency + kappa omega o`: costs subtract the
    credit from the curve, and what was measured holds it already. The quality speaks of that target. kappa
    (s) is the affine fit's; the floor of `price` is part of neither fit. With no overlap it changes nothing.
    Errors: ValueError on a kappa that is negative or not finite, when no row is there, all rows have one
    load, or every latency is zero. Source: ours.
    """
    _check_coefficients("the overlap credit", (kappa,))
    rows = _stack(cells, "the full curve")
    # Rows of one summary share their overlap, so that this shifts their mean and leaves their scatter.
    rows = replace(rows, latency=rows.latency + kappa * rows.omega_overlap)
    knots = knots_up_to(rows.top)
    design = np.column_stack([np.ones(rows.x.size), np.maximum(0.0, rows.x[:, None] - np.asarray(knots))])
    coefficients, quality = _weighted_nnls(design, rows, "the full curve")
    return FullLatency(float(coefficients[0]), knots, tuple(coefficients[1:].tolist()), quality)


@dataclass(frozen=True, eq=False)
class _Rows(CellSummary):
    """The rows of several cells, one after the other; `cell` (rows,) numbers them."""

    cell: IntArray
    n_cells: int


def _stack(cells: Sequence[CellSummary], curve: str) -> _Rows:
    used = [cell for cell in cells if cell.n_rows > 0]
    if not used:
        raise ValueError(f"nothing to fit {curve} to: none of the {len(cells)} cell(s) has a counted request")
    rows = _Rows(
        x=np.concatenate([cell.x for cell in used]),
        omega_overlap=np.concatenate([cell.omega_overlap for cell in used]),
        latency=np.concatenate([cell.latency for cell in used]),
        weight=np.concatenate([cell.weight for cell in used]),
        scatter=sum(cell.scatter for cell in used),
        top=max(cell.top for cell in used),
        n_rows=sum(cell.n_rows for cell in used),
        cell=np.repeat(np.arange(len(used)), [cell.x.size for cell in used]),
        n_cells=len(used),
    )
    if np.unique(rows.x).size < 2:
        raise ValueError(
            f"cannot fit {curve}: all {rows.n_rows} rows have the load {rows.x[0]:g}, which tells no slope"
        )
    if not rows.latency.any():
        raise ValueError(f"cannot fit {curve}: every latency is zero")
    return rows


def _weighted_nnls(design: FloatArray, rows: _Rows, curve: str) -> tuple[FloatArray, FitQuality]:
    from scipy.optimize import nnls  # slow to load, and whoever draws a curve fits none

    root = np.sqrt(rows.weight)
    target = root * rows.latency
    weighted = root[:, None] * design
    # Unit columns and a unit target keep the solver's absolute tolerances out of the result, so that a
    # change of the unit of time changes nothing but the unit of the coefficients.
    size = np.linalg.norm(weighted, axis=0)
    size[size == 0.0] = 1.0
    unit = float(np.linalg.norm(target))
    try:
        solution, _ = nnls(weighted / size, target / unit, maxiter=100 * design.shape[1])
    except RuntimeError as error:
        raise ValueError(f"cannot fit {curve}: {error}") from error
    coefficients = np.asarray(solution, dtype=np.float64) * unit / size
    return coefficients, _quality(rows, rows.latency - design @ coefficients)


def _quality(rows: _Rows, residual: FloatArray) -> FitQuality:
    total = float(rows.weight.sum())
    everywhere = np.zeros(rows.x.size, dtype=np.int64)
    return FitQuality(
        r2=_r2(rows, rows.latency, residual, everywhere, center=False),
        r2_within=_r2(rows, rows.latency, residual, rows.cell, center=True),
        rmse=float(np.sqrt(_squares(rows, residual) / total)),
        n_rows=rows.n_rows,
        n_cells=rows.n_cells,
    )


def _r2(rows: _Rows, latency: FloatArray, residual: FloatArray, group: IntArray, *, center: bool) -> float:
    """1 less the residuals' share of the spread round the groups' means; `center` takes their own out."""
    spread = _squares(rows, latency - _group_means(rows, latency, group))
    left = _squares(rows, residual - _group_means(rows, residual, group) if center else residual)
    return 1.0 - left / spread if spread > 0.0 else float("nan")


def _squares(rows: _Rows, values: FloatArray) -> float:
    return float(rows.weight @ values**2) + rows.scatter


def _group_means(rows: _Rows, values: FloatArray, group: IntArray) -> FloatArray:
    weight = np.bincount(group, weights=rows.weight)
    mean: FloatArray = np.bincount(group, weights=rows.weight * values) / weight
    return mean[group]


def _check_coefficients(curve: str, coefficients: tuple[float, ...]) -> None:
    if not all(np.isfinite(c) and c >= 0.0 for c in coefficients):
        raise ValueError(f"the coefficients of {curve} must be finite and not negative: {coefficients}")
