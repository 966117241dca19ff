"""What a condition is in a deployment whose knee is known: its stages, timing, name and what decides it."""

from __future__ import annotations

from collections.abc import Sequence

from anarchy.config import AdaptivePolicy, Condition, Controller, StagePlan, Tier, Timing
from anarchy.config.hashed import hashed
from anarchy.config.loads import Knee, Stage
from anarchy.control.detector import FORGET, PARAMETERS, Regime


def stages_at(planned: Sequence[StagePlan], knee: Knee) -> tuple[Stage, ...]:
    """Stages with their C."""
    return tuple(Stage(one.name, knee.concurrency(one), one.settle_s, one.seconds) for one in planned)


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
        watching = tier.watching
        assert watching is not None, "stages are what controllers watch"
        facts |= {"stages": [hashed(stage) for stage in stages], "watch": list(watching.sources)}
        if watching.sources or isinstance(condition.policy, AdaptivePolicy):
            facts |= {"poll_s": watching.poll_s, "baseline_polls": watching.baseline_polls, "forget": FORGET}
            facts["regimes"] = {regime.word: list(PARAMETERS[regime]) for regime in Regime}
        if watching.sources:
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
