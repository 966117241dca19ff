"""Cumulative Prometheus histograms: what came in between two scrapes, and quantiles of it. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anarchy.telemetry.metrics import labels_json, split_series


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of observations up to and including each edge, as Prometheus exposes them.

    `edges` rise and end with +Inf; `counts[i]` observations are <= `edges[i]`. Raises `ValueError` for
    anything else.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) or not self.edges or self.edges[-1] != math.inf:
            raise ValueError("a histogram needs a count for each edge, and +Inf as its last edge")
        if not all(a < b for a, b in itertools.pairwise(self.edges)):
            raise ValueError(f"edges that do not rise: {self.edges}")
        if not all(math.isfinite(count) and count >= 0.0 for count in self.counts):
            raise ValueError(f"counts that are no counts: {self.counts}")
        if not all(a <= b for a, b in itertools.pairwise(self.counts)):
            raise ValueError(f"cumulative counts that fall: {self.counts}")

    @property
    def total(self) -> float:
        """All observations."""
        return self.counts[-1]


@dataclass(frozen=True, slots=True)
class Increase:
    """What came in between two scrapes of one frontend."""

    histograms: tuple[Histogram, ...]
    """One a series."""
    restarts: int
    """Series whose counters fell or went away: the process started anew."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A quantile of a histogram: the interpolated value, and the edges that the true one lies between.

    The true quantile (the smallest observation with at least the share q at or below it) is > `lower` and <=
    `upper`. In the last bucket `upper` is +Inf and `value` is `lower`: the value is then a lower bound.
    """

    value: float
    lower: float
    upper: float


Histograms = Mapping[str, Histogram]
"""The histograms of one frontend by their labels, `le` left out."""


def read_histograms(values: Mapping[str, float], metric: str) -> dict[str, Histogram]:
    """The histograms of `metric` (its name without `_bucket`) among the series of one scrape.

    `values` is what `telemetry.metrics.Exposition.update` returns the first time. Raises `ValueError` for
    series that make no histogram: an edge that is no number, counts that fall.
    """
    buckets: dict[str, dict[float, float]] = {}
    for series, value in values.items():
        if not series.startswith(metric):
            continue
        name, labels = split_series(series)
        if name != f"{metric}_bucket":
            continue
        edge = float(labels.pop("le", "nan"))
        buckets.setdefault(labels_json(labels), {})[edge] = value
    return {
        labels: Histogram(tuple(sorted(counts)), tuple(counts[edge] for edge in sorted(counts)))
        for labels, counts in buckets.items()
    }


def increase(before: Histograms, after: Histograms) -> Increase:
    """Requests between two scrapes of one frontend, series by series, as Prometheus' `increase` counts.

    A series that is new counts from 0. A series of which any count fell, or whose edges changed, was reset:
    all that it now holds came in since, and what came in between the first scrape and the reset is lost.
    A series that is gone was reset too, and has counted nothing since. A reset is not seen when the counters
    have passed their old values before the second scrape.
    """
    grown: list[Histogram] = []
    restarts = sum(1 for labels, old in before.items() if labels not in after and old.total > 0)
    for labels, new in after.items():
        old = before.get(labels)
        if old is None:
            grown.append(new)
        elif old.edges != new.edges or any(b < a for a, b in zip(old.counts, new.counts, strict=True)):
            restarts += 1
            grown.append(new)
        else:
            grown.append(_difference(old, new))
    return Increase(tuple(grown), restarts)


def _difference(old: Histogram, new: Histogram) -> Histogram:
    counts = (b - a for a, b in zip(old.counts, new.counts, strict=True))
    # A scrape reads the buckets one after the other while requests are counted: a later request may stand in
    # a low bucket and not yet in a higher one. Prometheus mends such a fall in the same way.
    return Histogram(new.edges, tuple(itertools.accumulate(counts, max)))


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
