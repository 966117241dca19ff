"""What a bootstrap gives: a value with its replicates, and the interval drawn from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Kind = Literal["across-launches", "within-run"]


@dataclass(frozen=True)
class Interval:
    """A value with a percentile interval and what it rests on.

    `kind` says whether launches were resampled (`across-launches`, three or more) or only blocks inside them
    (`within-run`: it knows nothing of the spread between launches). `n_windows` counts the resampled units:
    windows, or requests for a statistic of requests. `block_length` is the mean over launches, in those
    units. `lo` and `hi` are NaN where the data cannot tell.
    """

    value: float
    lo: float
    hi: float
    kind: Kind
    n_launches: int
    n_windows: int
    block_length: float
    level: float
    replicates: int


@dataclass(frozen=True, eq=False)
class Resampled:
    """A value with its bootstrap replicates; `draws` (B,). The other fields are those of `Interval`."""

    value: float
    draws: FloatArray
    kind: Kind
    n_launches: int
    n_windows: int
    block_length: float

    def interval(self, level: float = 0.95) -> Interval:
        """Percentile interval: the (1 - level)/2 and (1 + level)/2 quantiles of the replicates.

        No BCa: its jackknife ignores the dependence. Errors: ValueError on a level outside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level is {level}: want a number between 0 and 1")
        lo, hi = np.quantile(self.draws, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        return Interval(
            value=self.value,
            lo=float(lo),
            hi=float(hi),
            kind=self.kind,
            n_launches=self.n_launches,
            n_windows=self.n_windows,
            block_length=self.block_length,
            level=level,
            replicates=int(self.draws.size),
        )


def quotient(over: Resampled, under: Resampled, *, seed: int = 0, paired: bool = False) -> Resampled:
    """Ratio of two sides, such as static over adaptive, both resampled.

    Sides are independent unless `paired`: resampled with one seed and two streams over the same launches, so
    that a replicate of both holds the same launches and what they share of their luck cancels. The result is
    `across-launches` only where both sides are, and reports the smaller counts and the longer blocks. NaN
    where the lower side is 0; no interval where a replicate of it is.
    Errors: ValueError when the sides have different numbers of replicates.
    """
    if over.draws.size != under.draws.size:
        raise ValueError(f"the sides have {over.draws.size} and {under.draws.size} replicates: want the same")
    # Sides resampled with one seed share their random numbers; a shuffle makes the pairs independent.
    drawn = under.draws if paired else np.random.default_rng(seed).permutation(under.draws)
    draws = np.full(drawn.size, np.nan)
    np.divide(over.draws, drawn, out=draws, where=drawn != 0.0)
    value = over.value / under.value if under.value else np.nan
    both = over.kind == under.kind == "across-launches"
    return Resampled(
        value=value,
        draws=draws,
        kind="across-launches" if both else "within-run",
        n_launches=min(over.n_launches, under.n_launches),
        n_windows=min(over.n_windows, under.n_windows),
        block_length=max(over.block_length, under.block_length),
    )
