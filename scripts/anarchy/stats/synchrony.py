"""How far a stream of events goes in step: the index of dispersion of its counts, and when that is no chance.

The index is the variance of the counts of equal bins over their mean (Fano factor; Cox and Lewis, The
Statistical Analysis of Series of Events, 1966). It is 1 where events come by chance (Poisson), near 0 where
they come at equal distances, and about g where they come in groups of g: the size of the group that a request
comes with.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, nan, sqrt

import numpy as np
from numpy.typing import NDArray

from .intervals import FloatArray

IntArray = NDArray[np.int64]

MOST_BINS = 5_000_000  # a cell of a day in bins of 17 ms
MOST_PLACES = 2.0**53  # bins that a float still tells apart
CHANCE = 1e-4
"""How often users who keep apart may be called in step: one cell of ten thousand."""
COMPANY = 2.0
"""Least index that is called in step: in the bin of a request as many again as chance brings. Ours."""


@dataclass(frozen=True)
class Dispersion:
    """The counts of a stream: `index` is their variance over their mean, NaN with no event or under 2 bins.

    `n_events` are those inside the `n_bins` whole bins.
    """

    index: float
    n_bins: int
    n_events: int

    @property
    def chance_sd(self) -> float:
        """Standard deviation of the index where as many events fall by chance; its mean is then 1, exactly.

        The counts of n events that fall on k bins are multinomial, so that `(k - 1) index` is Pearson's
        statistic with variance `2 (k - 1) (n - 1) / n`.
        """
        if self.n_bins < 2 or self.n_events < 1:
            return nan
        return sqrt(2.0 * (self.n_events - 1) / (self.n_events * (self.n_bins - 1)))


def binned(times: FloatArray, start: float, end: float, width: float) -> IntArray:
    """Events in each whole bin from `start` on, up to `end`. Shapes: (n,) -> (bins,). Units: any, of time.

    A bin holds its lower edge; what lies outside, or beyond the last whole bin, is left out.
    Errors: ValueError on a width that is not above 0, times that are not finite, too many bins.
    """
    place, bins = _places(times, start, end, width)
    if bins > MOST_BINS:
        raise ValueError(f"{bins} bins of {width}: at most {MOST_BINS} are counted one by one")
    return np.bincount(place, minlength=bins).astype(np.int64, copy=False)


def dispersion(times: FloatArray, start: float, end: float, width: float) -> Dispersion:
    """Index of dispersion of a stream in bins of `width` between two times, as `binned`, however many.

    The variance is the sample's (divided by bins - 1), which makes the mean of the index exactly 1 for
    events that fall by chance. Nothing changes when all times, the width among them, are shifted or scaled.
    Shapes: (n,). Errors: ValueError on a width that is not above 0, and times that are not finite.
    """
    place, bins = _places(times, start, end, width)
    if bins < 2 or place.size == 0:
        return Dispersion(nan, bins, int(place.size))
    # Only bins that hold something are kept: a wait of a nanosecond makes more bins than any memory holds.
    _, counts = np.unique(place, return_counts=True)
    mean = place.size / bins
    squares = float((counts.astype(np.float64) ** 2).sum()) - place.size * mean
    return Dispersion(max(0.0, squares) / (bins - 1) / mean, bins, int(place.size))


def _places(times: FloatArray, start: float, end: float, width: float) -> tuple[IntArray, int]:
    """The bin of each event that lies in one, and how many there are; none where no float counts them."""
    if not (isfinite(width) and width > 0.0 and isfinite(start) and isfinite(end)):
        raise ValueError(f"bins of {width} from {start} to {end}: want finite times and a width above 0")
    if not np.isfinite(times).all():
        raise ValueError("a time of an event is not finite")
    exact = (end - start) / width
    bins = int(exact) if 0.0 <= exact < MOST_PLACES else 0
    inside = times[(times >= start) & (times <= end)] if bins else times[:0]
    place = np.floor((inside - start) / width)
    return place[place < bins].astype(np.int64), bins


def perfect_step(users: int, rounds: int, bins: int) -> float:
    """The index of `users` who all send at one instant, in `rounds` different ones of `bins` bins.

    `rounds` counts of `users` and zeros elsewhere: `users (1 - rounds / bins) bins / (bins - 1)`, so about
    C (1 - step / T) for C users of a closed loop whose requests take T.
    Errors: ValueError on fewer than 2 bins, more rounds than bins, or no user or round.
    """
    if bins < 2 or not 1 <= rounds <= bins or users < 1:
        raise ValueError(f"{users} users in {rounds} of {bins} bins: want at least 1, 1 and 2")
    return users * (1.0 - rounds / bins) * bins / (bins - 1)


def in_step_from(found: Dispersion, users: int | None) -> float:
    """The index from which a stream is called in step; NaN where it is too short to tell.

    Two things must hold. It is no chance: users of a closed loop who keep apart repeat the places in which
    they started, round after round, so that longer measuring tells nothing new; the worst that chance makes
    is `users` places thrown on the bins of one round, whose index times its degrees of freedom is chi-squared
    (below it where they are spread evenly). Exceeded by CHANCE. And it is worth a word: COMPANY.
    `users` is C of a closed loop; None where requests come by themselves, so that all bins are new.
    """
    from scipy.stats import chi2  # a second to load, and every call of Snakemake loads this

    if found.n_bins < 2 or found.n_events < 1:
        return nan
    bins = float(found.n_bins)
    if users is not None:
        bins = min(bins, users * found.n_bins / found.n_events)
    return max(COMPANY, float(chi2.isf(CHANCE, bins - 1.0)) / (bins - 1.0)) if bins >= 2.0 else nan
