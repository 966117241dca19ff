"""Loads by name, as multiples of a system's knee, and what C they are when the knee is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import model_validator

from anarchy.config.values import KneeTimes, Name, PositiveSeconds, Seconds, Strict, Users

LOWEST_KNEE: Final = 8
"""C: no knee is looked for below; `stats.knee.C_MIN`, which is slow to load."""
NEAR: Final = 1.5
"""A load moves to a C of E1's grid within this factor of the multiple asked for; else it stays where it
is."""
REFERENCE_TIMES: Final = (0.4, 0.75)
"""Multiples of the knee that bound `c_ref`: the loads below the knee lie at 0.4 and less, and PoA-hat bends
from about 0.8 on where its knee is wide."""


class Level(Strict):
    """A concurrency by name: a multiple of the system's knee, or a C of its own."""

    name: Name
    knee_times: KneeTimes | None = None
    """C as a multiple of the system's knee."""
    concurrency: Users | None = None
    """C itself, in place of a multiple: for a load that must not hang on a knee."""
    on_grid: bool = False
    """Where this run's E1 measures the knee, the C of E1's grid next to the multiple, so that both
    experiments measure one saturated point (claim C13)."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Level:
        if (self.knee_times is None) == (self.concurrency is None):
            raise ValueError(
                f"{self.name} needs knee_times (a multiple of the knee) or concurrency (C itself), one of "
                "them"
            )
        if self.on_grid and (self.knee_times or 0.0) <= 1:
            raise ValueError(
                f"on_grid is for loads past the knee, but {self.name} is not; take it out, or raise "
                "knee_times"
            )
        return self


class Load(Level):
    """A constant concurrency."""

    reference_only: bool = False
    """Measured once and under the reference policy alone: a point for the latency curves, which need two."""


class StagePlan(Level):
    """A span of a staged cell in which C stays the same."""

    settle_s: Seconds
    """Before measuring, model seconds from the change of C."""
    seconds: PositiveSeconds
    """Measured part, model seconds."""


@dataclass(frozen=True)
class Stage:
    """A span of a staged cell in which C stays the same: it settles, then is measured. Model seconds."""

    name: str
    concurrency: int
    settle_s: float
    seconds: float


@dataclass(frozen=True)
class Knee:
    """What loads are multiples of: a system's knee as it is used, or why there is none."""

    value: int | None
    """C; None where none was found."""
    grid: tuple[int, ...] = ()
    """The grid of C that it was measured on in this run, which loads with `on_grid` lie on."""
    reason: str = ""
    """Why there is none."""

    def concurrency(self, level: Level) -> int:
        """C of a load or stage, at least 1; 0 where it hangs on a knee that there is none of."""
        if level.concurrency is not None:
            return level.concurrency
        assert level.knee_times is not None, "a level has one of the two"
        if self.value is None:
            return 0
        wanted = at_knee(self.value, level.knee_times)
        return on_grid(wanted, self.value, self.grid) if level.on_grid else wanted


NO_KNEE = Knee(None, reason="nothing asks for one")
"""Of a deployment whose loads hang on no knee."""


def at_knee(knee: int, times: float) -> int:
    """C at a multiple of the knee, at least 1."""
    return max(1, round(times * knee))


def on_grid(wanted: int, knee: int, grid: Sequence[int]) -> int:
    """The C of a grid past the knee that is nearest to a wanted one on the logarithm; it, if none is near."""
    near = [C for C in grid if knee < C and max(C / wanted, wanted / C) <= NEAR]
    return min(near, key=lambda C: abs(math.log(C / wanted)), default=wanted)


def reference_limit(c_ref: int, knee: int | None) -> int:
    """C up to which the affine latency curve is fitted where loads are multiples of a knee.

    The configured one, as far as it lies between 0.4 and 0.75 times the knee: below the bend, and not below
    the loads that the fit needs.
    """
    if knee is None:
        return c_ref
    return min(max(c_ref, at_knee(knee, REFERENCE_TIMES[0])), at_knee(knee, REFERENCE_TIMES[1]))


def times_of(level: Level, concurrency: int, knee: int | None) -> float:
    """What multiple of the knee a load is: as configured, unless its C is another; NaN without a knee."""
    if level.knee_times is not None and (knee is None or at_knee(knee, level.knee_times) == concurrency):
        return level.knee_times
    return concurrency / knee if knee else math.nan
