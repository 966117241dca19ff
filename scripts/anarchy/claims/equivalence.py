"""Equivalence: that an effect is smaller than a margin is shown by its upper bound, not by seeing none."""

from __future__ import annotations

from anarchy.claims.model import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Outcome
from anarchy.tables import percent


def equivalent(lo: float, hi: float, margin: float, whose: str) -> tuple[Outcome, str]:
    """Equivalence test of a CV against a margin, all three shares: the outcome, and a clause that says it.

    `lo` and `hi` are one-sided 95 % bounds, so that either verdict is wrong in at most 5 % of measurements:
    the upper one below the margin is `reproduced`, the lower one above it `not reproduced`.
    """
    test = f"equivalence test, margin {percent(margin)} ({whose}): CV between {percent(lo)} and {percent(hi)}"
    if hi <= margin:
        return REPRODUCED, f"{test}, so it lies below the margin"
    if lo > margin:
        return NOT_REPRODUCED, f"{test}, so it lies above the margin"
    return INCONCLUSIVE, f"{test}, which the margin does not part"
