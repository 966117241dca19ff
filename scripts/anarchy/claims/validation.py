"""Whether numbers in virtual time may decide: what the comparison of engines found of the same system.

A system of design `engines` holds virtual cells against live ones and says, for each workload, whether they
agree within its tolerances: over all C, below the knee (`below`), and past it (`past`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from anarchy.claims.model import INCONCLUSIVE, NOT_TESTABLE, Part, Reach, System
from anarchy.tables import TITLES, percent

DESIGN: Final = "engines"
"""Name of the design that compares them."""

LIVE_DECIDES: Final = "the same cells on the live stack would decide"

Found = Mapping[str, Any]


def validated(part: Part, system: System, workload: str, reach: Reach, systems: Sequence[System]) -> Part:
    """A part that virtual numbers decided, with what the comparison of engines says of it.

    Where engines do not agree in the reach of the claim, the part is left open.
    """
    if part.verdict == NOT_TESTABLE:
        return part
    found = list(_agreement(system, workload, reach, systems))
    if not found:
        return _noted(part, "not cross-validated in this run")
    apart = [one for one in found if one["within"] is False]
    if apart:
        why = "; ".join(filter(None, (_outside(one) for one in apart))) or "no quantity is named"
        reason = (
            f"in virtual time and live the numbers do not agree{_at(apart)}: {why}; by these numbers alone: "
        )
        reason += f"{part.verdict}, {part.reason}"
        return replace(
            part, verdict=INCONCLUSIVE, reason=reason, launches_to_decide=None, decides=LIVE_DECIDES
        )
    agreed = [one for one in found if one["within"] is True]
    if agreed:
        return _noted(part, f"cross-validated, within tolerance of the live stack{_at(agreed)}")
    missing = ", ".join(
        dict.fromkeys(_missing(each) for one in found for each in one.get("not_compared") or ())
    )
    note = "cross-validation did not decide whether virtual and live numbers agree"
    return _noted(part, f"{note}, without {missing}" if missing else note)


def _agreement(system: System, workload: str, reach: Reach, systems: Iterable[System]) -> Iterable[Found]:
    """What comparisons of engines found of this system and workload in the reach of a claim."""
    for other in systems:
        same = all(other[key] == system[key] for key in ("model", "topology"))
        if other.get("design") == DESIGN and same:
            for entry in other["agreement"]:
                side = entry if reach == "both" else entry.get(reach)
                if entry["workload"] == workload and side is not None:
                    yield {"concurrency": entry.get("concurrency"), **side, "reach": reach}


def _noted(part: Part, note: str) -> Part:
    return replace(part, notes=(*part.notes, note))


def _at(found: Sequence[Found]) -> str:
    """Where engines were compared: the range of C, as each comparison tells it, and the side of the knee."""
    where = [
        " to ".join(f"{C:g}" for C in dict.fromkeys(one["concurrency"]))
        for one in found
        if one["concurrency"]
    ]
    side = {"below": " below the knee", "past": " past the knee"}.get(found[0]["reach"], "")
    return f"{side} (C = {', '.join(dict.fromkeys(where))})" if where else side


def _outside(one: Found) -> str:
    """Quantities that differ by more than their tolerance, each with both, as shares of the live number."""
    return "; ".join(_told(each) for each in one.get("outside") or ())


def _missing(each: Found) -> str:
    """A quantity at a C that could not be compared."""
    return f"{TITLES.get(str(each['quantity']), str(each['quantity']))} at C = {each['concurrency']}"


def _told(each: str | Found) -> str:
    if isinstance(each, str):
        return each
    place = f" at C = {each['concurrency']}" if each.get("concurrency") is not None else ""
    quantity = TITLES.get(str(each["quantity"]), str(each["quantity"]))
    difference, tolerance = (percent(each.get(key)) for key in ("difference", "tolerance"))
    return f"{quantity}{place} differs by {difference}, tolerance {tolerance}"
