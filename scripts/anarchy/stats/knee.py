"""The knee of PoA-hat over the concurrency C, and the regime that a cell belongs to.

The knee is the breakpoint of a continuous two-segment line through log PoA-hat against log C over C >= 8. A
fit always has a breakpoint; whether there is a knee is a question of its own, answered by `Knee.exists`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .intervals import FloatArray

IntArray = NDArray[np.int64]
Regime = Literal["artifact", "plateau", "growth"]

C_MIN = 8
MIN_POINTS = 4
MIN_WINDOWS = 30
MIN_GROWTH = 1.2  # at the deepest point PoA-hat must stand a fifth above the first line carried on
MIN_IMPROVEMENT = 0.5  # and the second segment must explain half of what one line leaves
ALPHA = 0.05
STABLE_SLOPE = 0.15
"""Largest exponent of C, up or down, at which a plateau counts as stable: under 11 % a doubling. Ours."""
N_BREAKPOINTS = 400
_SAME = 1e-9  # a breakpoint searched on the logarithm meets a grid point only to rounding


@dataclass(frozen=True, eq=False)
class TwoSegments:
    """Least-squares two-segment lines that bend upwards, one for each row of values.

    Shapes: (R,) each. `breakpoint` on the axis of C, NaN where no upward bend beats one line; `slope_before`
    and `slope_after` are exponents of C; `growth` = the fit at the largest C over its first line carried on
    to it; `sse` and `sse_line` are the squared errors in log PoA-hat with and without the bend.
    """

    breakpoint: FloatArray
    slope_before: FloatArray
    slope_after: FloatArray
    growth: FloatArray
    sse: FloatArray
    sse_line: FloatArray


@dataclass(frozen=True)
class Knee:
    """The knee, or why there is none.

    `knee`, `lo`, `hi` are on the axis of C, None where no knee exists; `first_post_knee` is the smallest grid
    C at or above the knee. The slopes (exponents of C), `growth` (of `TwoSegments`) and `improvement` (share
    of one line's squared error that the bend removes) are reported in either case, NaN where nothing could be
    fitted. `p_value`: how often noise alone on one line gives as much improvement.
    """

    exists: bool
    reason: str
    knee: float | None
    lo: float | None
    hi: float | None
    first_post_knee: int | None
    slope_before: float
    slope_after: float
    growth: float
    improvement: float
    p_value: float
    level: float
    replicates: int


def two_segments(C: FloatArray | IntArray, poa: FloatArray) -> TwoSegments:
    """Fit `a + s1 log C + (s2 - s1) max(0, log C - log knee)` to log PoA-hat, s2 >= s1, row by row.

    The breakpoint is found by exhaustive search on a fine geometric grid between the second and the last but
    one point (each segment holds two points), which lies between the points of C as well as on them.
    Shapes: C (n,) ascending, n >= 4, poa (R, n) positive. Errors: ValueError otherwise. Source: ours.
    """
    if C.ndim != 1 or poa.ndim != 2 or poa.shape[1] != C.size or C.size < MIN_POINTS:
        raise ValueError(f"C {C.shape} and poa {poa.shape} must be (n,) and (R, n) with n >= {MIN_POINTS}")
    if (np.diff(C) <= 0).any() or C[0] <= 0 or not (poa > 0).all() or not np.isfinite(poa).all():
        raise ValueError("C must ascend, and C and poa must be positive and finite")
    x, y = np.log(C), np.log(poa)
    line = np.linalg.qr(np.column_stack([np.ones(x.size), x]))
    rest = y - (y @ line.Q) @ line.Q.T
    # What a hinge adds to one line is the squared projection on the part of it that one line does not hold.
    breaks = np.unique(np.concatenate([np.linspace(x[1], x[-2], N_BREAKPOINTS), x[1:-1]]))
    hinges = np.maximum(0.0, x[None, :] - breaks[:, None])
    bends = hinges - (hinges @ line.Q) @ line.Q.T
    size = np.linalg.norm(bends, axis=1)
    gains = rest @ (bends / size[:, None]).T
    best = gains.argmax(axis=1)
    gain = np.maximum(gains[np.arange(len(y)), best], 0.0)
    bend = gain / size[best]
    sse_line = (rest**2).sum(axis=1)
    before = np.linalg.solve(line.R, ((y - bend[:, None] * hinges[best]) @ line.Q).T)[1]
    return TwoSegments(
        breakpoint=np.where(bend > 0.0, np.exp(breaks[best]), np.nan),
        slope_before=before,
        slope_after=before + bend,
        growth=np.exp(bend * hinges[best, -1]),
        sse=np.maximum(sse_line - gain**2, 0.0),
        sse_line=sse_line,
    )


def find_knee(
    C: IntArray, poa_hat: FloatArray, draws: FloatArray, *, c_min: int = C_MIN, level: float = 0.95
) -> Knee:
    """The knee of one ladder with its bootstrap interval.

    A knee exists where (1) the second slope is larger and `growth` >= 1.2, (2) the bend removes half of one
    line's squared error, and (3) bootstrap noise laid on one line gives as much improvement in less than 5 %
    of the replicates (the search over breakpoints included). The interval is the percentile interval of the
    breakpoint over the replicates that bend upwards. Grid points under `c_min`, or without a finite positive
    value and replicates, are left out.
    Shapes: C (n,), poa_hat (n,), draws (B, n): joint replicates of the ladder. Any order of C.
    Errors: ValueError on shapes that do not fit or a C that occurs twice. Source: ours; the claim of three
    regimes is of arXiv 2606.17081.
    """
    _check_ladder(C, poa_hat, draws)
    order = _ascending(C, (c_min <= C) & _positive(poa_hat) & _positive(draws).all(axis=0))
    if order.size < MIN_POINTS or len(draws) == 0:
        return _no_fit(
            f"{order.size} usable grid points at C >= {c_min}: want {MIN_POINTS}", level, len(draws)
        )
    grid, value, drawn = C[order], poa_hat[order], draws[:, order]
    fit = two_segments(grid, value[None, :])
    p_value = _p_value(grid, value, drawn, float(fit.sse_line[0] - fit.sse[0]))
    sse, sse_line, growth = float(fit.sse[0]), float(fit.sse_line[0]), float(fit.growth[0])
    improvement = 1.0 - sse / sse_line if sse_line > 0.0 else 0.0
    reason = _why_not(growth, improvement, p_value)
    knee = lo = hi = first = None
    if not reason:
        knee = float(fit.breakpoint[0])
        lo, hi = _percentiles(two_segments(grid, drawn).breakpoint, level)
        first = first_at_or_above(C, knee)
    return Knee(
        exists=not reason,
        reason=reason,
        knee=knee,
        lo=lo,
        hi=hi,
        first_post_knee=first,
        slope_before=float(fit.slope_before[0]),
        slope_after=float(fit.slope_after[0]),
        growth=growth,
        improvement=improvement,
        p_value=p_value,
        level=level,
        replicates=len(draws),
    )


def first_at_or_above(C: IntArray, knee: float) -> int | None:
    """Smallest C of the grid at or above the knee, None where the grid ends below it."""
    above = C[knee * (1.0 - _SAME) <= C]
    return int(above.min()) if above.size else None


def kneedle(C: IntArray, poa_hat: FloatArray, *, c_min: int = C_MIN) -> float | None:
    """Knee of the same curve by Kneedle on logarithmic axes, a grid point, or None where it sees none.

    Shapes: (n,) each, any order. Source: Satopaa et al. 2011, as in the package `kneed`.
    """
    from kneed import KneeLocator  # slow to load: it brings matplotlib

    order = _ascending(C, (c_min <= C) & _positive(poa_hat))
    x, y = np.log(C[order]), np.log(poa_hat[order])
    if order.size < MIN_POINTS or np.ptp(y) < _SAME:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it finds no knee; None says so already
        found = KneeLocator(x, y, curve="convex", direction="increasing").knee
    return None if found is None else float(C[order[np.argmin(np.abs(x - found))]])


def ttft_crossing(
    C: IntArray, ttft_p99: FloatArray, *, c_min: int = C_MIN, c_ref: int = 64, factor: float = 2.0
) -> int | None:
    """First grid C whose TTFT P99 is more than `factor` times its plateau, or None.

    The plateau is the median of TTFT P99 over `c_min` <= C <= `c_ref` (ours). Only C >= c_min is looked at.
    Shapes: (n,) each, any order; units: any, the same for all; NaN is left out.
    """
    usable = (c_min <= C) & _positive(ttft_p99)
    level = ttft_p99[usable & (c_ref >= C)]
    if level.size == 0:
        return None
    beyond = C[usable & (ttft_p99 > factor * np.median(level))]
    return int(beyond.min()) if beyond.size else None


def regime(n_windows: int, C: int, m: int, knee: float | None) -> Regime:
    """Regime of a cell: `artifact` under 30 windows or C < m, `plateau` up to the knee, `growth` from it on.

    A cell at the knee itself is the first post-knee point, so `growth`. Without a knee all is plateau.
    """
    if n_windows < MIN_WINDOWS or m > C:
        return "artifact"
    return "growth" if knee is not None and knee * (1.0 - _SAME) <= C else "plateau"


def _p_value(C: IntArray, poa_hat: FloatArray, draws: FloatArray, gain: float) -> float:
    """Share of replicates in which bootstrap noise on the best single line improves by `gain` or more."""
    x, y, noise = np.log(C), np.log(poa_hat), np.log(draws)
    line = np.linalg.qr(np.column_stack([np.ones(x.size), x])).Q
    null = two_segments(C, np.exp((y @ line) @ line.T + noise - noise.mean(axis=0)))
    return float((1 + np.count_nonzero(null.sse_line - null.sse >= gain)) / (1 + len(draws)))


def _why_not(growth: float, improvement: float, p_value: float) -> str:
    if growth < MIN_GROWTH:
        return f"PoA-hat ends only {growth:.2f} times above the first line: want {MIN_GROWTH}"
    if improvement < MIN_IMPROVEMENT:
        return (
            f"a bend removes only {improvement:.0%} of one line's squared error: want {MIN_IMPROVEMENT:.0%}"
        )
    if p_value >= ALPHA:
        return f"noise on one line bends as much in {p_value:.0%} of the replicates: want under {ALPHA:.0%}"
    return ""


def _no_fit(reason: str, level: float, replicates: int) -> Knee:
    nan = float("nan")
    return Knee(False, reason, None, None, None, None, nan, nan, nan, nan, nan, level, replicates)


def _percentiles(breakpoints: FloatArray, level: float) -> tuple[float, float]:
    lo, hi = np.nanquantile(breakpoints, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(lo), float(hi)


def _check_ladder(C: IntArray, poa_hat: FloatArray, draws: FloatArray) -> None:
    if not (C.ndim == 1 and poa_hat.shape == C.shape and draws.ndim == 2 and draws.shape[1] == C.size):
        shapes = f"{C.shape}, {poa_hat.shape}, {draws.shape}"
        raise ValueError(f"want C (n,), poa_hat (n,), draws (B, n), got {shapes}")
    if np.unique(C).size < C.size:
        raise ValueError(f"a concurrency occurs twice: {sorted(C.tolist())}")


def _ascending(C: IntArray, usable: NDArray[np.bool_]) -> IntArray:
    """Where the usable points are, in order of C."""
    order = np.argsort(C, kind="stable")
    return order[usable[order]]


def _positive(values: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values) & (values > 0.0), dtype=np.bool_)
