"""Growth of PoA-hat from the plateau to deep saturation, held against the published one beside the levels.

A constant of the cost model cancels in a ratio: a level may lie outside its range for that constant alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from anarchy.claims.model import (
    INCONCLUSIVE,
    REPRODUCED,
    Claim,
    Outcome,
    Part,
    Published,
    ScaleFree,
    System,
    against_range,
    end_of,
    system_title,
)
from anarchy.tables import is_missing

GROWTH: Final = "growth of PoA-hat from the plateau to the deepest C (scale-free, beside the level)"
REACHES: Final = "C at which our growth of PoA-hat reaches {} (scale-free, beside the level)"

Point = Mapping[str, Any]


def growth_part(claim: Claim, system: System, workload: str) -> list[Part]:
    """Growth to the deepest C with its interval, against the published growth."""
    published, found = claim.scale_free, system["workloads"][workload]
    if published is None:
        return []
    title, rise = system_title(system), found.get("rise")
    if rise is None:
        return [Part(title, INCONCLUSIVE, "no growth was estimated", GROWTH, aside=True)]
    outcome, why = _held(claim, published, system, rise, _points(found))
    reason = f"from the plateau to C = {found['deepest']['concurrency']}, as deep as our grid goes: {why}"
    held = (published.lo, published.hi) if _is_published(published, system) else None
    values = (rise["value"], rise["lo"], rise["hi"])
    notes = (published.text,) if held else ()
    return [Part(title, outcome, reason, GROWTH, *values, published=held, notes=notes, aside=True)]


def reach_parts(claim: Claim, system: System, workload: str) -> list[Part]:
    """The C at which our growth reaches each end of the published one, with its interval."""
    published = claim.scale_free
    if published is None:
        return []
    points = _points(system["workloads"][workload])
    return [_reach_part(system, points, level) for level in (published.lo, published.hi)]


def reaches(points: Sequence[Point], level: float, key: str = "value") -> float | None:
    """C at which a growth first reaches a level, in users, interpolated in log-log between grid points.

    `points` by rising C, from the plateau's last; None where none gets there, or a point before has no value.
    """
    before: tuple[float, float] | None = None
    for point in points:
        if is_missing(point[key]) or point[key] <= 0:
            return None
        here = math.log(point["concurrency"]), math.log(point[key])
        if here[1] >= math.log(level):
            if before is None or here[1] == before[1]:
                return float(point["concurrency"])
            share = (math.log(level) - before[1]) / (here[1] - before[1])
            return math.exp(before[0] + share * (here[0] - before[0]))
        before = here
    return None


def _points(found: Mapping[str, Any]) -> Sequence[Point]:
    """Growth at each C from the plateau's last cell on."""
    return found.get("rises") or []


def _is_published(published: ScaleFree, system: System) -> bool:
    here = (system["model"], system["topology"])
    return here in [(about.model, about.topology) for about in published.systems]


def _held(
    claim: Claim, published: ScaleFree, system: System, rise: Point, points: Sequence[Point]
) -> tuple[Outcome, str]:
    """A growth against the published one: only inside speaks, for how deep the paper went is not known."""
    if not _is_published(published, system):
        return INCONCLUSIVE, "no growth of this system is published"
    outcome, why = against_range(as_growth(claim, published), rise["lo"], rise["hi"])
    if outcome == REPRODUCED:
        return outcome, why
    ends = [reaches(points, level) for level in (published.lo, published.hi)]
    if ends[0] is not None and ends[1] is not None:
        why += f"; it passes through that range between C = {ends[0]:.0f} and {ends[1]:.0f}"
    return INCONCLUSIVE, why


def as_growth(claim: Claim, published: ScaleFree) -> Claim:
    """The claim with its published growth for its published value."""
    values = Published(text=published.text, lo=published.lo, hi=published.hi)
    return claim.model_copy(update={"published": values, "tolerance": 0.0})


def _reach_part(system: System, points: Sequence[Point], level: float) -> Part:
    quantity = REACHES.format(end_of(level))
    value = reaches(points, level)
    # The interval's upper end gets there first.
    lo, hi = reaches(points, level, "hi"), reaches(points, level, "lo")
    reason = "at which C the paper's reaches it is not known to us"
    if value is None:
        reason = f"never up to C = {points[-1]['concurrency']}" if points else "no growth was estimated"
    return Part(system_title(system), INCONCLUSIVE, reason, quantity, value, lo, hi, aside=True)
