"""The upper level of the bootstrap: which launches a replicate takes, and intervals over few of them.

Percentiles over few launches are too narrow (Hesterberg 2015), so the draws of a value are spread between
launches until their 95 % interval is as wide as Student's; at other levels it is not Student's.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from .intervals import FloatArray, Kind, Resampled

IntArray = NDArray[np.int64]

MIN_LAUNCHES = 3
MIN_EFFECTIVE = 2.0  # effective number of launches below which one of them is nearly alone
_ROUNDING = 1e-12  # what sums of many numbers may be off, as a share
# What is kept of the spread inside launches where launches are resampled: a launch's mean carries its own
# noise already, so all of it would count twice; none would leave a few values to take percentiles of.
_WITHIN = 1.0 / 3.0


def launch_counts(
    sizes: Sequence[int], present: Sequence[int], of: int, replicates: int, seed: int
) -> IntArray:
    """How often each replicate takes each of the launches that are present, of those of a ladder: (B, L).

    A replicate is an endless list of launches, the same for every cell of a ladder. A cell takes from its
    front as many as it has, of those that it has: so cells with the same launches draw the same ones, and a
    cell that lacks one stays as close to the others as it can.
    """
    counts = np.ones((replicates, len(present)), dtype=np.int64)
    if not resamples_launches(sizes):
        return counts
    counts[:] = 0
    place = np.full(of, -1)
    place[list(present)] = np.arange(len(present))
    open_draws = np.full(replicates, len(present))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    while open_draws.any():
        drawn = place[rng.integers(0, of, replicates)]
        rows = np.flatnonzero((drawn >= 0) & (open_draws > 0))
        counts[rows, drawn[rows]] += 1
        open_draws[rows] -= 1
    return counts


def resamples_launches(sizes: Sequence[int]) -> bool:
    """Whether there are launches enough to resample: three, and none so large that it is nearly alone.

    The second is asked of the effective number of launches, 1 / sum of squared shares of the windows.
    """
    shares = np.asarray(sizes, dtype=np.float64) / max(sum(sizes), 1)
    return len(sizes) >= MIN_LAUNCHES and 1.0 / float((shares**2).sum()) >= MIN_EFFECTIVE


def present_launches(
    columns: Sequence[Sequence[FloatArray]], ids: Sequence[int] | None = None
) -> tuple[list[FloatArray], list[int]]:
    """One (k, n_l) array for each launch that has windows, and the numbers of these launches.

    Errors: ValueError on columns that do not pair up or a value that is not finite.
    """
    shapes = [[part.shape for part in column] for column in columns]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"the columns of a bootstrap must have the same launches and lengths: {shapes}")
    launches = [np.stack(parts).astype(np.float64, copy=False) for parts in zip(*columns, strict=True)]
    numbers = range(len(launches)) if ids is None else ids
    kept = [(launch, l) for launch, l in zip(launches, numbers, strict=True) if launch.shape[1] > 0]
    if not all(np.isfinite(launch).all() for launch, _ in kept):
        raise ValueError("the columns of a bootstrap must be finite")
    return [launch for launch, _ in kept], [l for _, l in kept]


def over_launches(
    value: float, draws: FloatArray, launches: Sequence[FloatArray], lengths: Sequence[float], times: IntArray
) -> Resampled:
    """A value with its plain draws (B,), spread as Student's where launches were resampled.

    `lengths`: mean block length of each of the launches; `times` (B, L) as `launch_counts`.
    """
    sizes = np.array([launch.shape[1] for launch in launches])
    kind: Kind = "across-launches" if resamples_launches(sizes.tolist()) else "within-run"
    if kind == "across-launches":
        draws = spread_as_student(value, draws, times, sizes)
    elif all(launch.shape[1] < 2 for launch in launches):
        draws = np.full(draws.size, np.nan)  # one window resamples to itself: no spread is no knowledge
    return Resampled(
        value=float(value),
        draws=draws,
        kind=kind,
        n_launches=len(launches),
        n_windows=sum(launch.shape[1] for launch in launches),
        block_length=float(np.mean(lengths)) if lengths else float("nan"),
    )


def spread_as_student(value: float, draws: FloatArray, times: IntArray, sizes: IntArray) -> FloatArray:
    """The draws with a spread between launches as wide as Student's 95 % interval over the launches.

    Log draws about the log value are split into a part linear in how often each launch was drawn and a rest.
    The first is scaled to Student's width, the rest keeps `_WITHIN`. The factors depend on the sizes alone
    and the split is linear, so products of ratios from one call stay what they were, and what cells share of
    their launches still cancels in their quotient. A value or a draw that is not positive is treated on its
    own scale, and where none is negative the result is not either.
    Shapes: draws (B,), times (B, L), sizes (L,). Source: ours.
    """
    if not np.isfinite(draws).all():
        return draws
    positive = value > 0.0 and bool((draws > 0.0).all())
    away = np.log(draws / value) if positive else draws - value
    counts = times - 1.0
    between = counts @ np.linalg.lstsq(counts, away, rcond=None)[0]
    moved = _student_width(sizes) * between + _WITHIN * (away - between)
    if positive:
        return np.asarray(value * np.exp(moved), dtype=np.float64)
    negative = min(value, float(draws.min())) < -_ROUNDING * float(np.abs(draws).max())
    least = -np.inf if negative else 0.0
    return np.asarray(np.maximum(value + moved, least), dtype=np.float64)


def _student_width(sizes: IntArray) -> float:
    """Half width of Student's 95 % interval over launches in units of the percentile bootstrap's.

    It is t(L - 1) / z times sqrt(L / (L - 1)) where launches are equally large. Otherwise the deviations from
    a mean weighted by size have the expectation and the degrees of freedom (Satterthwaite 1946) used here.
    """
    w = sizes / sizes.sum()
    w2, w3 = float((w**2).sum()), float((w**3).sum())
    freedom = (1.0 - w2) ** 2 / (w2**2 + w2 - 2.0 * w3)
    return float(stdtrit(freedom, 0.975) / ndtri(0.975) / sqrt(1.0 - w2))
