"""Whether the virtual clock agrees with the live stack, in sentences of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anarchy.designs.engines.tables import TITLES, percents
from anarchy.ground.words import is_missing
from anarchy.tables import System


def parts(system: System, workload: str) -> list[str]:
    """Whether the engines agree up to C_ref and past it, each a clause."""
    found, names = _agreement(system, workload), system.info["engines"]
    engines = f"{names['virtual'] or 'virtual'} against {names['live'] or 'live'}"
    c_ref = system.info["c_ref"]
    return [
        f"{engines} up to C_ref = {c_ref}: {_range(found['below'])}",
        f"past it: {_range(found['past'])}",
    ]


def notes(system: System, workload: str) -> list[str]:
    """What could not be compared, and why."""
    by_cell: dict[tuple[int, str], list[str]] = {}
    whole = len(system.info["tolerances"])
    for one in _agreement(system, workload)["not_compared"]:
        by_cell.setdefault((one["concurrency"], one["reason"]), []).append(TITLES[one["quantity"]])
    return [
        f"Not compared at C = {C}: {'all of it' if len(names) == whole else ', '.join(names)} ({reason})"
        for (C, reason), names in by_cell.items()
    ]


def _agreement(system: System, workload: str) -> Mapping[str, Any]:
    """The entry of one workload."""
    found: Mapping[str, Any] = next(one for one in system.info["agreement"] if one["workload"] == workload)
    return found


def _range(found: Mapping[str, Any]) -> str:
    """One range in words."""
    if found["concurrency"] is None:
        return "nothing compared"
    lowest, highest = found["concurrency"]
    at = f"C = {lowest}" if lowest == highest else f"C = {lowest} to {highest}"
    outside = ", ".join(map(_outside, found["outside"]))
    missing = f", {len(found['not_compared'])} not compared" if found["not_compared"] else ""
    known = "all" if found["within"] else "all that can be told apart"
    return f"{at}, {f'outside tolerance: {outside}' if outside else f'{known} within tolerance'}{missing}"


def _outside(one: Mapping[str, Any]) -> str:
    """One quantity that is outside its tolerance."""
    at = f"{TITLES[one['quantity']]} at C = {one['concurrency']}"
    if is_missing(one["difference"]):
        return f"{at} (live is 0)"
    return f"{at} ({percents(one['difference'], '+')} %, tolerance {percents(one['tolerance'])} %)"


def answer(systems: Sequence[System]) -> str:
    """In how many comparisons all numbers lie inside their tolerances, over systems, workloads and ranges."""
    ranges = [one[side] for s in systems for one in s.info["agreement"] for side in ("below", "past")]
    compared = [one for one in ranges if one["concurrency"] is not None]
    inside = sum(one["within"] is True for one in compared)
    open_ = sum(one["within"] is None for one in compared)
    told = f"All numbers lie within their tolerances in {inside} of {len(compared)} comparisons"
    return f"{told}, and in {open_} not all of them can be told." if open_ else f"{told}."
