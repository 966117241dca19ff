"""Cumulative Prometheus histograms: what came in between two scrapes, and quantiles of it. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anarchy.telemetry.exposition import Labels

LARGEST_COUNT = 2.0**53
"""Up to here every whole number is a float, so that differences are exact."""
_SHOWN = 20
"""Numbers that a message shows at most."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of observations up to and including each edge, as Prometheus exposes them.

    `edges` are latencies that rise and end with +Inf; `counts[i]` observations are <= `edges[i]`. Raises
    `ValueError` for anything else.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) or not self.edges or self.edges[-1] != math.inf:
            raise ValueError("a histogram needs a count for each edge, and +Inf as its last edge")
        if self.edges[0] < 0.0 or not all(a < b for a, b in itertools.pairwise(self.edges)):
            raise ValueError(f"edges that do not rise from 0: {_excerpt(self.edges)}")
        if not all(0.0 <= count <= LARGEST_COUNT and float(count).is_integer() for count in self.counts):
            raise ValueError(f"counts that are no counts: {_excerpt(self.counts)}")
        if not all(a <= b for a, b in itertools.pairwise(self.counts)):
            raise ValueError(f"counts that fall from edge to edge: {_excerpt(self.counts)}")

    @property
    def total(self) -> float:
        """All observations."""
        return self.counts[-1]

    @property
    def parts(self) -> tuple[float, ...]:
        """Observations between an edge and the one before it."""
        return tuple(b - a for a, b in itertools.pairwise((0.0, *self.counts)))


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a histogram: the interpolated value, and the edges that the true one lies between.

    The true quantile (the smallest observation with at least the share q at or below it) is > `lower` and <=
    `upper`. In the last bucket `upper` is +Inf and `value` is `lower`: the value is then a lower bound.
    """

    value: float
    lower: float
    upper: float


def increase(before: Mapping[Labels, Histogram], after: Mapping[Labels, Histogram]) -> tuple[Histogram, ...]:
    """Requests between two scrapes of one process, series by series; one that is new counts from 0.

    Raises `ValueError` where the counts are not those of one process (`pages.broken` says why).
    """
    return tuple(
        _difference(before[labels], new) if labels in before else new for labels, new in after.items()
    )


def _difference(old: Histogram, new: Histogram) -> Histogram:
    if old.edges != new.edges:
        raise ValueError("edges that changed")
    return Histogram(new.edges, tuple(b - a for a, b in zip(old.counts, new.counts, strict=True)))


def add(histograms: Iterable[Histogram]) -> Histogram | None:
    """All observations of several histograms in one; None of none.

    Raises `ValueError` when their edges differ: counts between two edges cannot be told apart then.
    """
    parts = tuple(histograms)
    if not parts:
        return None
    if any(part.edges != parts[0].edges for part in parts):
        raise ValueError("the frontends' histograms have different edges")
    return Histogram(
        parts[0].edges, tuple(sum(counts) for counts in zip(*(part.counts for part in parts), strict=True))
    )


def quantile(histogram: Histogram, q: float) -> Quantile | None:
    """The quantile `q` in (0, 1] as Prometheus' `histogram_quantile` gives it, and its bracket.

    None when the histogram is empty; raises `ValueError` for another `q`.

    The bucket is the first whose count reaches the rank q N. Inside it observations are taken as spread
    evenly: `value = lower + (upper - lower) (q N - count below) / (count in the bucket)`. The first bucket
    begins at 0 (latencies are not negative); in the last one the value is its lower edge.
    """
    if not 0.0 < q <= 1.0:
        raise ValueError(f"the quantile {q}")
    if histogram.total == 0:
        return None
    rank = q * histogram.total
    place = next(i for i, count in enumerate(histogram.counts) if count >= rank)
    upper = histogram.edges[place]
    lower = histogram.edges[place - 1] if place else 0.0
    below = histogram.counts[place - 1] if place else 0.0
    if upper == math.inf:
        return Quantile(lower, lower, upper)
    share = (rank - below) / (histogram.counts[place] - below)
    return Quantile(lower + (upper - lower) * share, lower, upper)


def _excerpt(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(f"{number:g}" for number in numbers[:_SHOWN])
    return shown + (", ..." if len(numbers) > _SHOWN else "")
