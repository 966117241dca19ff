"""The conditions of a deployment: each C of a grid, each load, or one sequence of stages, for each policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from anarchy.config import Controller, Policy, Tier, Timing
from anarchy.control.detector import FORGET, PARAMETERS, Regime


@dataclass(frozen=True)
class Stage:
    """A span of a staged cell in which C stays the same: it settles, then is measured. Model seconds."""

    name: str
    concurrency: int
    settle_s: float
    seconds: float


@dataclass(frozen=True)
class Condition:
    """What is measured of each workload, before it has a name and a cost."""

    policy: Policy
    concurrency: int
    load: str = ""
    stages: tuple[Stage, ...] = ()
    repeat: int = 1


def conditions(
    tier: Tier, policies: Sequence[Policy], reference: Policy, knee: int | None
) -> list[Condition]:
    """Every C, load or sequence of stages of the tier, for each policy that is measured there."""
    if tier.stages:
        stages = tuple(
            Stage(stage.name, at_knee(knee, stage.knee_times), stage.settle_s, stage.seconds)
            for stage in tier.stages
        )
        largest = max(stage.concurrency for stage in stages)
        return [Condition(policy, largest, stages=stages) for policy in policies]
    if not tier.loads:
        return [Condition(policy, C) for policy in policies for C in tier.concurrency]
    return [
        Condition(policy, at_knee(knee, load.knee_times), load.name, repeat=repeat)
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


def at_knee(knee: int | None, times: float) -> int:
    """C at a multiple of the knee, at least 1."""
    assert knee is not None, "config_files refuses loads and stages without a knee"
    return max(1, round(times * knee))


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


def condition_facts(tier: Tier, condition: Condition) -> dict[str, object]:
    """What decides a cell at a load or in stages, beside its C; nothing for a grid's cell."""
    facts: dict[str, object] = {}
    if condition.load:
        facts |= {"load": condition.load, "repeat": condition.repeat}
    if condition.stages:
        facts |= {"stages": [asdict(stage) for stage in condition.stages], "watch": list(tier.watch)}
        if tier.watch or condition.policy.kind == "adaptive":
            facts |= {"poll_s": tier.poll_s, "baseline_polls": tier.baseline_polls, "forget": FORGET}
            facts["regimes"] = {regime.word: list(PARAMETERS[regime]) for regime in Regime}
        if tier.watch:
            facts["watching"] = Controller().model_dump(mode="json", exclude={"source"})
    return facts


def cell_name(
    workload: str, concurrency: int, *, policy: str = "", staged: bool = False, repeat: int = 1
) -> str:
    """Name of a cell within its deployment, sortable by C.

    ``unique-c0128``, ``unique-c0128_kv-t0.7-w0.3`` where there are several policies, ``unique-staged`` or
    ``unique-staged_adaptive`` for a staged one, and ``..._r2`` for its second measurement.
    """
    words = [f"{workload}-staged" if staged else f"{workload}-c{concurrency:04d}"]
    words += [policy] if policy else []
    words += [f"r{repeat}"] if repeat > 1 else []
    return "_".join(words)
