"""Series with a known dependence."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ar1(rng: np.random.Generator, n: int, rho: float = 0.6) -> npt.NDArray[np.float64]:
    """A stationary autoregressive series of n values with mean 0 and variance 1."""
    series = rng.normal(size=n)
    for t in range(1, n):
        series[t] = rho * series[t - 1] + np.sqrt(1 - rho**2) * series[t]
    return series
