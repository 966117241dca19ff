"""What users of a planned cell ask for and when: the same for a live client and on a virtual clock."""

from __future__ import annotations

from anarchy.load.phases import PhasePlan
from anarchy.load.workload import Workload, WorkloadSpec
from anarchy.plan.launches import Cell


def workload_of(cell: Cell, seed: int) -> Workload:
    """The seeded requests of a cell's users."""
    planned = cell.workload
    return Workload(
        WorkloadSpec(
            input_tokens=planned.input_tokens,
            output_tokens=planned.output_tokens,
            output_jitter=planned.output_jitter,
            output_slack=planned.output_slack,
            templates=planned.templates,
            skew=planned.skew,
            unique_tail_tokens=planned.unique_tail_tokens,
            think_s=planned.think_s,
        ),
        seed=seed,
    )


def stagger_s(cell: Cell) -> float:
    """Model seconds over which the users of a constant cell start; 0 where they start together.

    It is one unloaded request and the thinking after it, so that the opening burst is a steady arrival of
    users.
    """
    if cell.workload.starts_together:
        return 0.0
    return min(cell.cost.residence_s + cell.workload.think_s, max(cell.timing.warmup_s, 0.1))


def phases_of(cell: Cell, pool: int) -> PhasePlan:
    """When a constant cell warms up, measures and ends; ``pool``: workers that the routing game is about."""
    timing = cell.timing
    return PhasePlan(
        warmup_s=timing.warmup_s,
        warmup_max_s=timing.warmup_s + timing.deadline_s,
        measure_s=timing.measure_s,
        measure_max_s=timing.measure_max_s,
        min_requests=timing.min_windows * pool,
    )
