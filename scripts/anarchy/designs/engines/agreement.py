"""Whether a virtual clock agrees with a live stack: one comparison at a time, and what a range of C comes to.

Pure: numbers in, plain values out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final

COMPARED: Final = ("ttft_p50", "ttft_p99", "itl_mean", "throughput_rps", "poa_hat", "window_range")
"""What is held against its tolerance, and `RATES` besides where the tier has objectives."""
ROUNDING: Final = 1e-9
"""A number that lies on the edge of its tolerance is inside, whatever rounding makes of it."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Tolerance:
    """How far a virtual number may lie from the live one: the larger of two distances."""

    share: float
    """Of the live number."""
    least: float = 0.0
    """In the quantity's own unit."""


@dataclass(frozen=True)
class Comparison:
    """One quantity at one C; a number that is not known is NaN."""

    quantity: str
    concurrency: int
    live: float
    virtual: float
    tolerance: Tolerance
    absent: str = ""
    """Why a cell does not count; empty where both do."""
    interval: tuple[float, float] | None = None
    """That of the difference, as shares of the live number; None where nobody knows it."""

    @property
    def reason(self) -> str:
        """Why nothing is compared; empty where it is."""
        if self.absent:
            return self.absent
        unknown = [name for name in ("live", "virtual") if not isfinite(getattr(self, name))]
        if unknown:
            return f"no number: {' and '.join(unknown)}"
        return "" if self.live > 0.0 or (self.live == 0.0 and self.tolerance.least) else "live is not above 0"

    @property
    def difference(self) -> float | None:
        """Virtual over live, less 1; None where nothing is compared or live is 0."""
        return None if self.reason or self.live == 0.0 else self.virtual / self.live - 1.0

    @property
    def allowed(self) -> float | None:
        """What the difference may be, either way; None as the difference."""
        return None if self.reason or self.live == 0.0 else self._distance / self.live

    @property
    def within(self) -> bool | None:
        """Whether the difference is no larger than its tolerance; None where nothing is compared.

        Also None where it is larger and its interval reaches into the tolerance: noise alone may do that.
        """
        if self.reason:
            return None
        if abs(self.virtual - self.live) <= self._distance * (1.0 + ROUNDING):
            return True
        return None if self._may_be_noise else False

    @property
    def open(self) -> str:
        """Why nobody knows whether it is within its tolerance; empty where somebody does."""
        if self.reason or self.within is not None:
            return self.reason
        assert self.interval is not None
        low, high = self.interval
        if high == inf:
            return "too noisy: the live number may be 0"
        return f"too noisy: the difference is between {low:+.0%} and {high:+.0%}"

    @property
    def _may_be_noise(self) -> bool:
        """Whether the interval of the difference and the tolerance meet."""
        if self.interval is None or self.allowed is None:
            return False
        low, high = self.interval
        return low <= self.allowed and high >= -self.allowed

    @property
    def _distance(self) -> float:
        return max(self.tolerance.share * self.live, self.tolerance.least)


def agreement(workload: str, title: str, comparisons: Sequence[Comparison], c_ref: int) -> Row:
    """Whether the engines agree under one workload: over all C, up to ``c_ref``, and past it.

    Each of the three has the keys of `over`; those of all C stand beside the workload's name.
    """
    return {
        "workload": workload,
        "title": title,
        **over(comparisons),
        "below": over(comparisons, highest=c_ref),
        "past": over(comparisons, lowest=c_ref + 1),
    }


def over(comparisons: Sequence[Comparison], lowest: float = 0, highest: float = inf) -> Row:
    """What the comparisons of a range of C come to, its ends included.

    ``within`` is false where one is outside its tolerance; true where all are inside; else null: with one
    missing or too noisy, or none planned, nobody knows. ``concurrency`` is the range of what was compared.
    """
    mine = [one for one in comparisons if lowest <= one.concurrency <= highest]
    made = [one for one in mine if not one.reason]
    outside = [one for one in made if one.within is False]
    whole = bool(mine) and all(one.within for one in mine)
    at = [one.concurrency for one in made]
    return {
        "concurrency": [min(at), max(at)] if at else None,
        "within": False if outside else True if whole else None,
        "outside": [
            {
                "quantity": one.quantity,
                "concurrency": one.concurrency,
                "difference": one.difference,
                "tolerance": one.allowed,
            }
            for one in outside
        ],
        "not_compared": [
            {"quantity": one.quantity, "concurrency": one.concurrency, "reason": one.open}
            for one in mine
            if one.open
        ],
    }
