"""The curvature of mean latency in C over the stages of a cell: what bends up where the system saturates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anarchy.stats.intervals import Resampled

Row = dict[str, Any]


def branches(C: Sequence[int]) -> list[str]:
    """Of each stage, whether it lies on the way `up`, to the first of the largest C, or `down` after it."""
    peak = C.index(max(C))
    return ["up" if index <= peak else "down" for index in range(len(C))]


def curvature(C: Sequence[int], means: Sequence[Resampled]) -> list[Resampled]:
    """Second divided difference of mean latency in C at each stage, s a user squared.

    At a stage with C1 and mean y1 between neighbours (C0, y0) and (C2, y2) of the same branch:
    `2 ((y2 - y1) / (C2 - C1) - (y1 - y0) / (C1 - C0)) / (C2 - C0)`, the second derivative of the parabola
    through the three. The stage of the largest C belongs to both branches and ends them. NaN at the ends and
    where C does not go on in one direction.
    """
    peak = C.index(max(C))
    return [
        _bend(C[index - 1 : index + 2], means[index - 1 : index + 2])
        if 0 < index < len(C) - 1 and index != peak
        else _unknown(means[index])
        for index in range(len(C))
    ]


def _bend(C: Sequence[int], means: Sequence[Resampled]) -> Resampled:
    first, second = C[1] - C[0], C[2] - C[1]
    if first * second <= 0 or len({mean.draws.size for mean in means}) > 1:
        return _unknown(means[1])
    weights = 2.0 / (first + second) * np.array([1.0 / first, -1.0 / first - 1.0 / second, 1.0 / second])
    return Resampled(
        value=float(sum(w * mean.value for w, mean in zip(weights, means, strict=True))),
        draws=np.asarray(sum(w * mean.draws for w, mean in zip(weights, means, strict=True))),
        kind="across-launches" if all(m.kind == "across-launches" for m in means) else "within-run",
        n_launches=min(mean.n_launches for mean in means),
        n_windows=min(mean.n_windows for mean in means),
        block_length=max(mean.block_length for mean in means),
    )


def _unknown(like: Resampled) -> Resampled:
    nan = float("nan")
    return Resampled(nan, np.full(like.draws.size, nan), like.kind, 0, 0, nan)


def largest(C: Sequence[int], bends: Sequence[Resampled]) -> Row | None:
    """The stage on the way up where mean latency bends most, with its interval; None if that is unknown."""
    peak = C.index(max(C))
    known = [index for index in range(peak) if np.isfinite(bends[index].value)]
    if not known:
        return None
    at = max(known, key=lambda index: bends[index].value)
    interval = bends[at].interval()
    return {"concurrency": C[at], "value": interval.value, "lo": interval.lo, "hi": interval.hi}
