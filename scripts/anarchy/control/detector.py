"""The saturation detector: a pure state machine from TTFT P99 of each poll to a regime of routing.

docs/controller.md has the formulas. What the paper states: EWMA, two thresholds, three confirming polls,
three regimes with their (tau, omega). Ours, because it is not known: the EWMA's weight, hysteresis on the
way down, direct jumps, and what a missing poll does.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from anarchy.control.observation import Observation
from anarchy.ground.errors import UserError


class Regime(enum.IntEnum):
    """How full the system is, as far as routing is concerned; ordered."""

    BELOW = 0
    TRANSITION = 1
    SATURATED = 2

    @property
    def word(self) -> str:
        """The name that traces and logs hold."""
        return self.name.lower()


class RouterParameters(NamedTuple):
    """What a regime sets on the router."""

    tau: float
    """Temperature of the softmax over the workers' costs; 0 = always the cheapest."""
    omega: float
    """Overlap weight."""


PARAMETERS: Final[Mapping[Regime, RouterParameters]] = {
    Regime.BELOW: RouterParameters(0.0, 1.0),
    Regime.TRANSITION: RouterParameters(0.7, 1.0),
    Regime.SATURATED: RouterParameters(0.8, 0.1),
}
"""Stated by the paper, which calls the last row conjectural: it never fired in its runs."""

CONFIRM: Final = 3
"""k, stated by the paper."""
WEIGHT: Final = 0.5
"""Ours: the newest poll counts half, the newest three 88 %."""
HYSTERESIS: Final = 0.2
"""Ours: comes down at 80 % of a threshold."""
FORGET: Final = 6
"""Ours: 30 s of polls every 5 s."""

Verdict = Literal["steady", "confirming", "switch", "missing"]


@dataclass(frozen=True, slots=True)
class DetectorState:
    """All that the detector remembers between polls."""

    regime: Regime = Regime.BELOW
    ewma: float | None = None
    """Model s; None before the first P99 and after a long absence."""
    above: tuple[int, int] = (0, 0)
    """Consecutive polls, those without a P99 left out, with the EWMA above theta1 and theta2."""
    under: tuple[int, int] = (0, 0)
    """The same under the two thresholds of the way down."""
    missing: int = 0
    """Polls without a P99 since the last one with."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one poll led to."""

    before: Regime
    regime: Regime
    verdict: Verdict
    reason: str
    forgot: bool = False
    """EWMA and runs were given up, after too many polls without a P99."""


@dataclass(frozen=True, slots=True)
class Detector:
    """Settings of the detector. Raises `UserError` for settings without sense.

    `theta1` < `theta2` are model seconds, `weight` the newest poll's share in the EWMA, `confirm` the polls k
    that a switch takes, `hysteresis` the share of a threshold by which the EWMA must have fallen under it on
    the way down, `forget` the polls without a P99 in a row after which EWMA and runs start anew.
    """

    theta1: float
    theta2: float
    weight: float = WEIGHT
    confirm: int = CONFIRM
    hysteresis: float = HYSTERESIS
    forget: int = FORGET

    def __post_init__(self) -> None:
        if not (0.0 < self.theta1 < self.theta2 < math.inf):
            raise _refused(
                f"theta1 is {self.theta1:g} s and theta2 {self.theta2:g} s",
                "give numbers with 0 < theta1 < theta2",
            )
        if not 0.0 < self.weight <= 1.0:
            raise _refused(
                f"the EWMA's weight is {self.weight:g}",
                "give a number above 0 and at most 1; 1 averages nothing",
            )
        if self.confirm < 1:
            raise _refused(f"k is {self.confirm}", "a switch takes at least 1 confirming poll")
        if not 0.0 <= self.hysteresis < 1.0:
            raise _refused(
                f"the hysteresis is {self.hysteresis:g}",
                "give a share of at least 0 and under 1; 0.2 comes down at 80 % of a threshold",
            )
        if self.forget < 1:
            raise _refused(f"forget is {self.forget}", "give at least 1 poll")

    @property
    def rise(self) -> tuple[float, float]:
        """What the EWMA must pass on the way up, model s."""
        return (self.theta1, self.theta2)

    @property
    def fall(self) -> tuple[float, float]:
        """What it must fall under on the way down, model s."""
        return (self.theta1 * (1.0 - self.hysteresis), self.theta2 * (1.0 - self.hysteresis))

    def step(self, state: DetectorState, observation: Observation) -> tuple[DetectorState, Decision]:
        """Take one poll; at most one switch, straight to the regime that the last k P99s all support."""
        if observation.p99 is None:
            return self._miss(state, observation.reason)
        ewma = smooth(state.ewma, observation.p99, self.weight)
        above = _lengthen(state.above, (ewma > self.rise[0], ewma > self.rise[1]))
        under = _lengthen(state.under, (ewma < self.fall[0], ewma < self.fall[1]))
        regime = self._regime(state.regime, above, under)
        following = DetectorState(regime, ewma, above, under)
        return following, self._told(state.regime, following)

    def _regime(self, now: Regime, above: tuple[int, int], under: tuple[int, int]) -> Regime:
        confirmed = self.confirm
        if now < Regime.SATURATED and above[1] >= confirmed:
            return Regime.SATURATED
        if now < Regime.TRANSITION and above[0] >= confirmed:
            return Regime.TRANSITION
        if now > Regime.BELOW and under[0] >= confirmed:
            return Regime.BELOW
        if now > Regime.TRANSITION and under[1] >= confirmed:
            return Regime.TRANSITION
        return now

    def _miss(self, state: DetectorState, reason: str) -> tuple[DetectorState, Decision]:
        """Hold the regime; a poll without a P99 is evidence for nothing."""
        missing = state.missing + 1
        forgets = missing == self.forget and state.ewma is not None
        if forgets:
            reason += f"; {missing} polls without a P99: EWMA and confirming polls start anew"
            state = DetectorState(state.regime)
        following = DetectorState(state.regime, state.ewma, state.above, state.under, missing)
        return following, Decision(state.regime, state.regime, "missing", reason, forgets)

    def _told(self, before: Regime, state: DetectorState) -> Decision:
        """Say which threshold has been passed for how long."""
        ways = [
            (Regime.SATURATED, "above theta2", self.rise[1], state.above[1], before < Regime.SATURATED),
            (Regime.TRANSITION, "above theta1", self.rise[0], state.above[0], before < Regime.TRANSITION),
            (Regime.BELOW, "under theta1", self.fall[0], state.under[0], before > Regime.BELOW),
            (Regime.TRANSITION, "under theta2", self.fall[1], state.under[1], before > Regime.TRANSITION),
        ]
        switched = state.regime is not before
        for regime, side, threshold, run, possible in ways:
            if possible and run and (regime is state.regime or not switched):
                where = f"EWMA {state.ewma:.4g} s {side}'s {threshold:.4g} s"
                if switched:
                    return Decision(before, regime, "switch", f"{where} for {run} polls")
                return Decision(before, before, "confirming", f"{where}: {run} of {self.confirm} polls")
        return Decision(before, before, "steady", f"EWMA {state.ewma:.4g} s")


def smooth(ewma: float | None, p99: float, weight: float) -> float:
    """The exponentially weighted moving average after one more P99; the first P99 starts it. Model s."""
    if ewma is None:
        return p99
    moved = ewma + weight * (p99 - ewma)
    # Rounding may lead a hair past both, and so over a threshold that nothing was over.
    return min(max(moved, min(ewma, p99)), max(ewma, p99))


def polls_to_cross(start: float, level: float, threshold: float, weight: float) -> int | None:
    """Polls at `level` until an EWMA that stood at `start` is strictly past `threshold`; None = never.

    The smallest n >= 1 with (1 - weight)^n < (level - threshold) / (level - start), upwards or downwards. A
    switch comes `confirm` - 1 polls later.
    """
    if level == threshold:
        return None
    if weight == 1.0 or (level - threshold) * (start - threshold) > 0.0:
        return 1
    gap = (level - threshold) / (level - start)
    return max(1, math.floor(math.log(gap) / math.log1p(-weight)) + 1)


def _lengthen(runs: tuple[int, int], holds: tuple[bool, bool]) -> tuple[int, int]:
    return (runs[0] + 1 if holds[0] else 0, runs[1] + 1 if holds[1] else 0)


def _refused(what: str, remedy: str) -> UserError:
    return UserError(what, where="controller", remedy=remedy)
