"""The rule on what caches cost as the working set grows (G2): claim, system and workload -> a verdict."""

from __future__ import annotations

from typing import Final

from anarchy.claims.frames import bounded, frame_of, nothing, of_launches
from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    REPRODUCED,
    Claim,
    Part,
    System,
    system_title,
)
from anarchy.claims.rules import Rule
from anarchy.tables import number

STEP: Final = "price at the pool's capacity over that below it"


def regime_at_capacity(claim: Claim, system: System, workload: str) -> list[Part]:
    """Whether the price stays as it is below the pool's capacity and rises at it, under affinity."""
    rows = frame_of(system, "regimes", workload)
    mine = (
        None
        if rows is None
        else rows[(rows["policy_title"] == system["affinity"]) & rows["valid"].astype(bool)]
    )
    if mine is None or mine.empty:
        return nothing(system, STEP, "no working sets below and at the pool's capacity count")
    row = mine.sort_values("concurrency", kind="stable").iloc[-1].to_dict()
    limit = 1.0 + claim.tolerance
    grown, step = bounded(row, "before"), bounded(row, "step")
    value, lo, hi = step
    sizes = f"from {number(row['below'])} to {number(row['above'])} of the capacity"
    if grown[1] is None or grown[2] is None or lo is None or hi is None:
        outcome, why = INCONCLUSIVE, f"has no interval, {sizes}"
    elif grown[1] > limit:
        outcome, why = (
            NOT_REPRODUCED,
            f"has risen before, {number(grown[0])} times by {number(row['below'])} of it",
        )
    elif hi <= limit:
        outcome, why = NOT_REPRODUCED, f"is no rise {sizes}; {limit:g} counts as none"
    elif lo > limit and grown[2] <= limit:
        outcome, why = REPRODUCED, f"is a rise {sizes}, and there is none below; {limit:g} counts as none"
    else:
        outcome, why = INCONCLUSIVE, f"against {limit:g} {sizes}, after {number(grown[0])} times below"
    outcome, why, decides = of_launches(row, outcome, why)
    return [Part(system_title(system), outcome, why, STEP, value, lo, hi, decides=decides)]


RULES: Final[dict[str, Rule]] = {"regime_at_capacity": regime_at_capacity}
"""By the name that a claim calls them."""
