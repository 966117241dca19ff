"""What one poll saw of the time to first token, whichever source it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

QUANTILE: Final = 0.99
"""The controller watches TTFT P99 (stated by the paper)."""


@dataclass(frozen=True, slots=True)
class Observation:
    """TTFT P99 of one poll window, or the reason why there is none. All times are model seconds.

    Raises `ValueError` for a P99 that is not a finite number of at least 0, for one with a reason, and for
    none without.
    """

    start: float
    end: float
    """The window, on the clock of the loop."""
    requests: int | None
    """Requests that got their first token in the window; None when nobody knows."""
    p99: float | None
    bracket: tuple[float, float] | None = None
    """Where the true P99 of these requests lies: above the first, up to the second; at both where equal."""
    reason: str = ""
    """Why there is no P99: the detector then holds."""
    notes: tuple[str, ...] = ()
    """What else has to be known of the window: a P99 that is a bound, requests without a first token."""

    def __post_init__(self) -> None:
        if (self.p99 is None) != bool(self.reason):
            raise ValueError(f"P99 {self.p99} with the reason {self.reason!r}: one of them, and not both")
        if self.p99 is not None and not (math.isfinite(self.p99) and self.p99 >= 0.0):
            raise ValueError(f"a TTFT P99 of {self.p99} s")


class Source(Protocol):
    """Where observations come from. One thread calls it, with times that do not fall."""

    name: str

    def begin(self, t: float) -> None:
        """Start the first window at `t`, model s."""

    def poll(self, t: float) -> Observation:
        """End the window at `t`, model s, and start the next one there."""
