"""What would decide a verdict that stays open: how many launches, as a number and as a clause."""

from __future__ import annotations

from typing import Final

from anarchy.claims.model import Claim, range_of
from anarchy.stats.deciding import MOST, Bounds, enough, ratio_bounds

LAUNCHES: Final = 3
"""Launches from which on an interval holds what differs between them."""

Needed = tuple[int | None, str]
"""How many launches would decide, and the clause that says it."""


def needed(bounds: Bounds | None, claim: Claim, launches: int) -> Needed:
    """Launches that would part an interval from the published range, or put it inside.

    `bounds` is None where the interval is not one over the `launches` that are behind the value.
    """
    if bounds is None:
        few = f"fewer than {LAUNCHES} tell no spread"
        why = few if launches < LAUNCHES else "the interval is not one across them"
        return None, f"how many launches would decide is not known: {why}"
    low, high = range_of(claim)
    count = enough(bounds, low, high, launches + 1)
    if count is not None:
        return count, f"{count} launches would decide, if value and spread stay as they are"
    where = "is the published point" if low == high else "lies at the edge of the range"
    return None, f"no number of launches decides: the value {where} (up to {MOST} launches)"


def at_least_three() -> Needed:
    """Where the interval is clear and only the launches are too few."""
    return LAUNCHES, f"{LAUNCHES} launches would decide, if the interval stays as it is"


def needed_pairs(ratio: float, claim: Claim, pairs: int) -> Needed:
    """No launches narrow a ratio of variances over pairs: pairs that would decide in place of them."""
    count = enough(ratio_bounds(ratio), *range_of(claim), pairs + 1)
    instead = f"{count} pairs would" if count else "nor more pairs: the value lies at the edge of the range"
    return None, f"no number of launches decides, the interval is as wide as {pairs} pairs make it; {instead}"
