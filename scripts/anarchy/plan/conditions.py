"""The conditions of a deployment: each C of a grid, each load, or one sequence of stages, for each policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from anarchy.config import Controller, Level, Load, Policy, StagePlan, Tier, Timing
from anarchy.config.hashed import Stage, hashed
from anarchy.control.detector import FORGET, PARAMETERS, Regime

__all__ = ["Condition", "Knee", "Stage", "at_knee", "conditions", "reference_limit", "stages_at", "times_of"]

NEAR: Final = 1.5
"""A load moves to a C of E1's grid within this factor of the multiple asked for; else it stays where it
is."""
REFERENCE_TIMES: Final = (0.4, 0.75)
"""Multiples of the knee that bound `c_ref`: the loads below the knee lie at 0.4 and less, and PoA-hat bends
from about 0.8 on where its knee is wide."""


@dataclass(frozen=True)
class Condition:
    """What is measured of each workload, before the knee is known; exactly one of the three is given."""

    policy: Policy
    concurrency: int | None = None
    """C of a grid."""
    load: Load | None = None
    stages: tuple[StagePlan, ...] = ()
    repeat: int = 1


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


def conditions(tier: Tier, policies: Sequence[Policy], reference: Policy) -> list[Condition]:
    """Every C, load or sequence of stages of the tier, for each policy that is measured there."""
    if tier.stages:
        return [Condition(policy, stages=tier.stages) for policy in policies]
    if not tier.loads:
        return [Condition(policy, C) for policy in policies for C in tier.concurrency]
    return [
        Condition(policy, load=load, repeat=repeat)
        for load in tier.loads
        for policy in policies
        if policy is reference or not load.reference_only
        for repeat in range(1, 1 + (tier.repeats if policy is reference and not load.reference_only else 1))
    ]


def count_conditions(tier: Tier, policies: int) -> int:
    """How many conditions there are with so many policies, without making any."""
    if tier.stages:
        return policies
    if not tier.loads:
        return policies * len(tier.concurrency)
    return sum(1 if load.reference_only else policies + tier.repeats - 1 for load in tier.loads)


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


def stages_at(planned: Sequence[StagePlan], knee: Knee) -> tuple[Stage, ...]:
    """Stages with their C."""
    return tuple(Stage(one.name, knee.concurrency(one), one.settle_s, one.seconds) for one in planned)


def times_of(level: Level, concurrency: int, knee: int | None) -> float:
    """What multiple of the knee a load is: as configured, unless its C is another; NaN without a knee."""
    if level.knee_times is not None and (knee is None or at_knee(knee, level.knee_times) == concurrency):
        return level.knee_times
    return concurrency / knee if knee else math.nan


def timing_of(timing: Timing, stages: tuple[Stage, ...]) -> Timing:
    """The tier's timing; of a staged cell what its stages say, and the deadline."""
    if not stages:
        return timing
    measured = sum(stage.seconds for stage in stages)
    return timing.model_copy(
        update={
            "warmup_s": stages[0].settle_s,
            "measure_s": measured,
            "min_windows": 0,
            "measure_max_s": measured,
        }
    )


def condition_facts(tier: Tier, condition: Condition, stages: Sequence[Stage]) -> dict[str, object]:
    """What decides a cell at a load or in stages, beside its C; nothing for a grid's cell."""
    facts: dict[str, object] = {}
    if condition.load:
        facts |= {"load": condition.load.name, "repeat": condition.repeat}
    if stages:
        facts |= {"stages": [hashed(stage) for stage in stages], "watch": list(tier.watch)}
        if tier.watch or condition.policy.kind == "adaptive":
            facts |= {"poll_s": tier.poll_s, "baseline_polls": tier.baseline_polls, "forget": FORGET}
            facts["regimes"] = {regime.word: list(PARAMETERS[regime]) for regime in Regime}
        if tier.watch:
            facts["watching"] = hashed(Controller(), {"source"})
    return facts


def cell_name(
    workload: str,
    concurrency: int,
    *,
    policy: str = "",
    staged: bool = False,
    repeat: int = 1,
    load: str = "",
) -> str:
    """Name of a cell within its deployment, sortable by C.

    ``unique-c0128``, ``unique-c0128_kv-t0.7-w0.3`` where there are several policies, ``unique-staged`` or
    ``unique-staged_adaptive`` for a staged one, and ``..._r2`` for its second measurement. A load without a
    C, because no knee was found, goes by its name: ``unique-below``.
    """
    at = f"c{concurrency:04d}" if concurrency else load
    words = [f"{workload}-staged" if staged else f"{workload}-{at}"]
    words += [policy] if policy else []
    words += [f"r{repeat}"] if repeat > 1 else []
    return "_".join(words)
