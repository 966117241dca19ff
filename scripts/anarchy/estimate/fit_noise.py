"""How far the frozen optimum of one run is unsure because its latency line was fitted to a few cells.

A frozen price past the knee is that line carried on, so a small error of its slope is a large one of PoA-hat.
Across launches the interval holds this, for each launch has a line of its own; within a run it does not, and
two engines that are compared once each would be told apart by their lines' noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from anarchy.estimate.game import requests_of
from anarchy.games.requests import FloatArray
from anarchy.games.routing import Windows, curve_rows
from anarchy.stats.blocks import block_length, launch_sums
from anarchy.stats.intervals import Resampled
from anarchy.trace.reader import CellTrace

MOMENTS = 5
"""Of a weighted line: the weight, and sums of x, x^2, y and x y."""


@dataclass(frozen=True, eq=False)
class FitRows:
    """What one cell gives to the fit, by window in time order: loads and latencies (W, m), s."""

    load: FloatArray
    latency: FloatArray


def fit_rows(trace: CellTrace, seen: Windows) -> FitRows:
    """The rows of a cell and its windows; raises UserError where its trace does not tell what they take."""
    rows = curve_rows(requests_of(trace), seen)
    shape = seen.row.shape
    return FitRows(rows.x.reshape(shape).astype(np.float64), rows.latency.reshape(shape))


def frozen_draws(
    reference: Sequence[FitRows], at: Windows, *, replicates: int, seed: int = 0, stream: int = 0
) -> FloatArray:
    """Frozen optima of some windows under lines fitted to resampled cells, over that of the line itself.

    Shapes: (B,).
    Without overlap credit the optimum is alpha per request plus beta per load, so a line is all it takes.
    Cells weigh the same, as in `fit_affine`, and blocks of windows are drawn inside each.
    Errors: ValueError without a window of reference.
    """
    cells = [cell for cell in reference if cell.load.size]
    if not cells:
        raise ValueError("no window to fit a line to")
    drawn = np.zeros((MOMENTS, replicates))
    for number, cell in enumerate(cells):
        length = block_length(cell.latency.sum(axis=1))
        drawn += launch_sums(_moments(cell), length, replicates, (seed, stream, number))
    requests, load = float(at.row.size), float((at.load + 1).sum())
    alpha, beta = line_through(cells)
    drawn_alpha, drawn_beta = _line(drawn)
    return np.asarray((drawn_alpha * requests + drawn_beta * load) / (alpha * requests + beta * load))


def line_through(cells: Sequence[FitRows]) -> tuple[float, float]:
    """Alpha and beta of the line that `fit_affine` fits to these cells without overlap, by its moments."""
    alpha, beta = _line(np.sum([_moments(cell).sum(axis=1) for cell in cells], axis=0)[:, None])
    return float(alpha[0]), float(beta[0])


def with_fit_noise(ratio: Resampled, frozen: FloatArray, *, seed: int = 0) -> Resampled:
    """A ratio over a frozen optimum, its replicates spread by those of the optimum too.

    Independent of each other: for cells that the line was not fitted to. Shapes: `frozen` (B,) as the draws.
    """
    shuffled = np.random.default_rng(seed).permutation(frozen)
    return replace(ratio, draws=ratio.draws / shuffled)


def _moments(cell: FitRows) -> FloatArray:
    """(5, W), weighted so that the cell weighs 1."""
    x, y = cell.load, cell.latency
    sums = np.array([np.ones_like(x).sum(axis=1), x.sum(1), (x * x).sum(1), y.sum(1), (x * y).sum(1)])
    return np.asarray(sums / x.size)


def _line(moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least squares of y = alpha + beta x with both at least 0, from moments (5, B)."""
    n, x, xx, y, xy = moments
    spread = n * xx - x * x
    beta = np.divide(n * xy - x * y, spread, out=np.zeros_like(n), where=spread > 0.0)
    alpha = (y - beta * x) / n
    flat, through = beta < 0.0, alpha < 0.0
    alpha = np.where(flat, y / n, np.where(through, 0.0, alpha))
    beta = np.where(flat, 0.0, np.where(through, xy / xx, beta))
    return alpha, beta
