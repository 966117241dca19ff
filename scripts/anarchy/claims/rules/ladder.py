"""Rules for claims on the equilibrium (E1): one claim, one system, one workload -> one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from anarchy.claims.deciding import LAUNCHES, Needed, needed
from anarchy.claims.growth import growth_part, reach_parts
from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Claim,
    Outcome,
    Part,
    System,
    against_range,
    end_of,
    ends_of,
    has_interval,
    system_title,
)
from anarchy.claims.rules import Rule, alone
from anarchy.stats.deciding import Bounds, student_bounds
from anarchy.stats.knee import STABLE_SLOPE
from anarchy.tables import interval, number

ACROSS: Final = "across-launches"
DEEPER: Final = "no number of launches decides, a deeper C would"
DEPTH: Final = "the depth of the paper's grid would decide, or a knee whose interval lies on one side"

NOTES: Final = {
    "three_regimes": '"artifact" means fewer than 30 windows or C < m, our definition; a plateau is stable '
    f"where the exponent of C is at most {STABLE_SLOPE} up or down (under 11 % a doubling), ours",
    "plateau_level": "our frozen curve is fitted to the measured latencies of the plateau's own cells, so "
    "the plateau is near 1 by construction, while the paper's cost model is uncalibrated",
    "deep_saturation": "how deep the paper went is not known to us, and our frozen curve is fitted to the "
    "plateau's own cells, which puts the plateau near 1, while the paper's cost model is uncalibrated",
    "prefill_first": "in a closed loop decode cannot saturate once prefill has",
}
"""What has to be known with every verdict of a rule, whichever it is."""


def three_regimes(claim: Claim, system: System, workload: str) -> Part:
    """C1: artifact, a stable plateau and growth were all seen, and growth leaves the plateau's interval."""
    del claim
    found = system["workloads"][workload]
    plateau, deepest, knee = found["plateau"], found["deepest"], found["knee"]

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(
            system_title(system), verdict, reason, "PoA-hat at the deepest C over its plateau", *values
        )

    if plateau is None or deepest is None:
        return part(INCONCLUSIVE, "no plateau could be told: too few valid cells below the knee")
    values = _rise(found)
    rise = f"PoA-hat {number(plateau['poa_hat'])} on the plateau{_cells(plateau)}, {_at(deepest)}"
    if not has_interval(plateau) or not has_interval(deepest):
        return part(INCONCLUSIVE, f"{rise}; without intervals", *values)
    grows = deepest["lo"] > plateau["hi"]
    if not grows and not knee["exists"]:
        return part(NOT_REPRODUCED, f"{rise}: no knee and no growth up to the deepest C", *values)
    if not grows or not knee["exists"]:
        return part(INCONCLUSIVE, f"{rise}: the knee and the growth do not agree", *values)
    regimes = {regime for _, regime in found.get("regimes") or system.get("regimes", {}).get(workload, [])}
    missing = [name for name in ("artifact", "plateau", "growth") if name not in regimes]
    if missing:
        return part(INCONCLUSIVE, f"{rise}; no grid point in the regime {', '.join(missing)}", *values)
    slope = knee.get("slope_before")
    if slope is None:
        return part(INCONCLUSIVE, f"{rise}; how steep the plateau is was not told", *values)
    steepness = f"exponent of C {slope:.2f} before the knee"
    if abs(slope) > STABLE_SLOPE:
        return part(INCONCLUSIVE, f"{rise}; the plateau is not stable: {steepness}", *values)
    return part(REPRODUCED, f"{rise}; {steepness}; knee at C = {number(knee['knee'])}", *values)


def _rise(found: Mapping[str, Any]) -> tuple[float | None, ...]:
    """PoA-hat at the deepest C over the plateau's: with its interval where that was estimated."""
    rise = found.get("rise")
    if rise:
        return rise["value"], rise.get("lo"), rise.get("hi")
    level = found["plateau"]["poa_hat"]
    return (float(found["deepest"]["poa_hat"] / level) if level else None,)


def _cells(plateau: Mapping[str, Any]) -> str:
    lowest, highest = plateau.get("cells_lo"), plateau.get("cells_hi")
    if lowest is None or highest is None:
        return ""
    return f" (its cells {number(lowest)} to {number(highest)})"


def knee_position(claim: Claim, system: System, workload: str) -> Part:
    """C2: the knee's interval lies in the published one, however deep the grid is taken to go."""
    found = system["workloads"][workload]
    knee, deepest = found["knee"], found["deepest"]
    assert claim.published.lo is not None
    assert claim.published.hi is not None
    published = (claim.published.lo, claim.published.hi)

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        open_ = DEPTH if verdict == INCONCLUSIVE and knee["exists"] else ""
        return Part(
            system_title(system), verdict, reason, "knee, C", *values, decides=open_, published=published
        )

    if knee["exists"]:
        outcome, why = against_range(claim, knee["lo"], knee["hi"])
        reason = f"knee {why}; first grid point past it: C = {knee['first_post_knee']}"
        outcome, depth = _over_depths(claim, found.get("knee_by_depth", []), outcome)
        return part(outcome, reason + depth, knee["knee"], knee["lo"], knee["hi"])
    if deepest is None or deepest["concurrency"] <= claim.published.hi:
        return part(
            INCONCLUSIVE, f"no knee, and the grid goes no deeper than C = {end_of(claim.published.hi)}"
        )
    return part(NOT_REPRODUCED, f"no knee up to C = {deepest['concurrency']}")


def _over_depths(claim: Claim, depths: Sequence[Mapping[str, Any]], outcome: Outcome) -> tuple[Outcome, str]:
    """The verdict on a knee with what other depths of the grid say, and a clause; one against it opens it.

    How deep the paper went is not known, and a two-line fit hangs on it. Grids that end inside the published
    range are left out: they could not tell a knee there.
    """
    assert claim.published.hi is not None
    told = [one for one in depths if one["deepest"] > claim.published.hi and one["knee"] is not None]
    if not told:
        return outcome, ""
    low, high = (pick(told, key=lambda one: one["knee"]) for pick in (min, max))
    clause = "; by how deep the grid goes, C = " + " to ".join(
        f"{number(one['knee'])} (deepest {one['deepest']})" for one in (low, high)
    )
    others = {against_range(claim, one["lo"], one["hi"])[0] for one in told}
    if {REPRODUCED, NOT_REPRODUCED} <= others | {outcome}:
        return (
            INCONCLUSIVE,
            f"{clause}, in the published range and out of it, and the paper's depth is not known",
        )
    return outcome, clause


def plateau_level(claim: Claim, system: System, workload: str) -> list[Part]:
    """C3: the level of the plateau, and beside it how far above it deep saturation lies."""
    return [_plateau_part(claim, system, workload), *growth_part(claim, system, workload)]


def _plateau_part(claim: Claim, system: System, workload: str) -> Part:
    """The plateau's interval lies in the published range, or at the system's own published value."""
    plateau = system["workloads"][workload]["plateau"]

    here = (system["model"], system["topology"])
    own = [entry.value for entry in claim.published.systems if (entry.model, entry.topology) == here]
    published = ends_of(claim, own[0] if own else None)

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(
            system_title(system), verdict, reason, "PoA-hat on the plateau", *values, published=published
        )

    if plateau is None:
        return part(INCONCLUSIVE, "no plateau could be told")
    outcome, why = against_range(claim, plateau["lo"], plateau["hi"], own[0] if own else None)
    where = f"C = {plateau['c_from']} to {plateau['c_to']}, {plateau['n_cells']} cells"
    reason = f"plateau{_cells(plateau)} {why} ({where})"
    return part(outcome, reason, plateau["poa_hat"], plateau["lo"], plateau["hi"])


def deep_saturation(claim: Claim, system: System, workload: str) -> list[Part]:
    """C7: the level of PoA-hat in deep saturation; beside it its growth, and where that gets how far."""
    level = _deepest_part(claim, system, workload)
    return [level, *growth_part(claim, system, workload), *reach_parts(claim, system, workload)]


def _deepest_part(claim: Claim, system: System, workload: str) -> Part:
    """PoA-hat at the deepest C, if that lies past the knee.

    Below the published range leaves it open: deeper it might have been reached. Above speaks against it.
    """
    found = system["workloads"][workload]
    deepest, knee = found["deepest"], found["knee"]

    def part(
        verdict: Outcome, reason: str, *values: float | None, count: int | None = None, decides: str = ""
    ) -> Part:
        return Part(
            system_title(system),
            verdict,
            reason,
            "PoA-hat at the deepest C",
            *values,
            launches_to_decide=count,
            decides=decides,
            published=ends_of(claim),
        )

    if deepest is None:
        return part(INCONCLUSIVE, "no valid cell")
    values = (deepest["poa_hat"], deepest["lo"], deepest["hi"])
    first = knee["first_post_knee"] if knee["exists"] else None
    if first is None or deepest["concurrency"] <= first:
        reason = f"C = {deepest['concurrency']}, the deepest measured, is not deep past a knee"
        return part(INCONCLUSIVE, reason, *values, decides=DEEPER)
    outcome, why = against_range(claim, deepest["lo"], deepest["hi"])
    if outcome == NOT_REPRODUCED:
        assert claim.published.lo is not None
        below = deepest["hi"] < claim.published.lo
        where = f"at C = {deepest['concurrency']} {why}, {'below' if below else 'above'} it"
        if below:
            return part(INCONCLUSIVE, where, *values, decides=DEEPER)
        return part(outcome, where, *values)
    if outcome == INCONCLUSIVE:
        count, told = _deepest_needed(claim, deepest)
        where = f"at C = {deepest['concurrency']} {why}"
        return part(outcome, where, *values, count=count, decides=told)
    return part(outcome, f"at C = {deepest['concurrency']} {why}", *values)


def _deepest_needed(claim: Claim, deepest: Mapping[str, Any]) -> Needed:
    """Launches that would decide the level, by those that count in the deepest cell."""
    return needed(_deepest_bounds(deepest), claim, deepest.get("n_launches") or 0)


def _deepest_bounds(deepest: Mapping[str, Any]) -> Bounds | None:
    """Intervals of the deepest cell by the number of launches; None where its own is not over launches."""
    now = deepest.get("n_launches") or 0
    across = now >= LAUNCHES and deepest.get("interval_kind") == ACROSS
    if not across or not has_interval(deepest) or deepest["lo"] <= 0:
        return None
    return student_bounds(deepest["poa_hat"], deepest["lo"], deepest["hi"], now)


def prefill_first(claim: Claim, system: System, workload: str) -> Part:
    """C12: past the plateau TTFT grows by more than ITL."""
    growth = system["workloads"][workload].get("growth")

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(
            system_title(system), verdict, reason, "TTFT at the deepest C over the plateau's", *values
        )

    if growth is None and "growth" in system["workloads"][workload]:
        return part(INCONCLUSIVE, "no growth was estimated: no plateau, or no valid cell deeper than it")
    if growth is None:
        return part(NOT_TESTABLE, claim.not_testable)
    ttft, itl = growth["ttft"], growth["itl"]
    values = (ttft["value"], ttft["lo"], ttft["hi"])
    reason = f"TTFT grows {interval(*values)} times, ITL {interval(itl['value'], itl['lo'], itl['hi'])} times"
    if not has_interval(ttft) or not has_interval(itl):
        return part(INCONCLUSIVE, f"{reason}; without intervals", *values)
    if ttft["lo"] > itl["hi"]:
        return part(REPRODUCED, reason, *values)
    if itl["lo"] > ttft["hi"]:
        return part(NOT_REPRODUCED, f"{reason}: decode goes first", *values)
    return part(INCONCLUSIVE, f"{reason}; the intervals meet", *values)


def _at(deepest: Mapping[str, Any]) -> str:
    return f"{number(deepest['poa_hat'])} at C = {deepest['concurrency']}"


RULES: Final[dict[str, Rule]] = {
    "three_regimes": alone(three_regimes),
    "knee_position": alone(knee_position),
    "plateau_level": plateau_level,
    "deep_saturation": deep_saturation,
    "prefill_first": alone(prefill_first),
}
