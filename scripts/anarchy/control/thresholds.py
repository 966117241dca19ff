"""Thresholds of the detector as multiples of the TTFT P99 that was measured at the start."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from anarchy.ground.errors import UserError

THETA1_TIMES: Final = 3.0
"""Ours: more than the factor 2.15 between the histogram's edges, so that one bucket is not a regime."""
THETA2_TIMES: Final = 30.0
"""Ours: ten times theta1, as far apart as the paper has them for the 340B (1 s and 10 s)."""
BASELINE_POLLS: Final = 6
"""Ours: 30 s of polls every 5 s."""


@dataclass(frozen=True, slots=True)
class Multiples:
    """theta1 and theta2 as multiples of the baseline; raises `UserError` for values without sense."""

    theta1_times: float = THETA1_TIMES
    theta2_times: float = THETA2_TIMES
    polls: int = BASELINE_POLLS
    """Polls with a P99 that make the baseline."""

    def __post_init__(self) -> None:
        if not (1.0 < self.theta1_times < self.theta2_times < math.inf):
            raise UserError(
                f"theta1 is {self.theta1_times:g} and theta2 {self.theta2_times:g} times the baseline",
                where="controller",
                remedy="give numbers with 1 < theta1 < theta2: at 1 the baseline itself would be over it",
            )
        if self.polls < 1:
            raise UserError(
                f"a baseline of {self.polls} polls", where="controller", remedy="measure at least 1 poll"
            )

    def thresholds(self, p99s: Sequence[float]) -> tuple[float, float]:
        """theta1 and theta2, model s, given the polls' P99s, model s."""
        level = baseline(p99s)
        if level <= 0.0:
            raise UserError(
                "the baseline TTFT P99 is 0 s, so no multiple of it is a threshold",
                where="controller",
                remedy="give theta1 and theta2 in seconds",
            )
        return self.theta1_times * level, self.theta2_times * level


def baseline(p99s: Sequence[float]) -> float:
    """The median of the polls' P99s: one bad window does not move it. Seconds in, seconds out."""
    return statistics.median(p99s)
