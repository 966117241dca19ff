"""How much of the rise of PoA-hat from one condition to another is routing, and how much is not."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from anarchy.estimate.conditions import Estimate
from anarchy.estimate.performance import bounded
from anarchy.stats.intervals import Resampled, quotient

Row = dict[str, Any]

PARTS: Final = {"poa_hat": "poa_hat", "dynamics": "dynamics", "routing": "poa_cal", "freezing": "freezing"}
"""PoA-hat and its factors, by the names of their replicates."""


def rise(low: Estimate, high: Estimate) -> Row | None:
    """PoA-hat at `high` over that at `low`, the same of each factor, and each factor's share of the rise.

    The factors' ratios multiply to the rise, so their logarithms add up to its own: a factor's share is
    `log(its ratio) / log(rise)`, the shares sum to 1, and one that falls has a negative share. Both
    conditions must be of one deployment. None where either has no PoA-hat.
    """
    ratios = {name: quotient(high.draws[key], low.draws[key], paired=True) for name, key in PARTS.items()}
    if not all(np.isfinite(ratio.value) for ratio in ratios.values()):
        return None
    found: Row = {}
    for name, ratio in ratios.items():
        found |= bounded(name, ratio)
        if name != "poa_hat":
            found |= bounded(f"{name}_share", _share(ratio, ratios["poa_hat"]))
    return found


def _share(part: Resampled, whole: Resampled) -> Resampled:
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.log(part.value) / np.log(np.float64(whole.value)))
        draws = np.log(part.draws) / np.log(whole.draws)
    return Resampled(value, draws, whole.kind, whole.n_launches, whole.n_windows, whole.block_length)
