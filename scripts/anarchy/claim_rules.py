"""The rules by which claims of the paper are judged: one claim, one system, one workload -> one verdict.

An interval inside the published range (widened by the claim's tolerance) speaks for the claim, one outside of
it against; one that overlaps it in part, or a value without an interval, leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from anarchy.config import Name, Strict
from anarchy.tables import interval, number

Outcome = Literal["reproduced", "not reproduced", "inconclusive", "not testable here"]
REPRODUCED: Outcome = "reproduced"
NOT_REPRODUCED: Outcome = "not reproduced"
INCONCLUSIVE: Outcome = "inconclusive"
NOT_TESTABLE: Outcome = "not testable here"
OUTCOMES = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_TESTABLE)

STABLE_SLOPE: Final = 0.15
"""Largest exponent of C, up or down, at which a plateau counts as stable: under 11 % a doubling. Ours."""

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

System = Mapping[str, Any]
"""One system.json: what was estimated of a model on a topology."""


class PublishedSystem(Strict):
    """The published value of one system."""

    model: Name
    topology: Name
    value: float


class Published(Strict):
    """A published value: in words, and as a range where it is a number."""

    text: str
    lo: float | None = None
    hi: float | None = None
    lo_open: bool = False
    """The lower end itself lies outside."""
    systems: tuple[PublishedSystem, ...] = ()

    @model_validator(mode="after")
    def _whole_range(self) -> Published:
        if (self.lo is None) != (self.hi is None) or (self.lo or 0.0) > (self.hi or 0.0):
            raise ValueError("lo and hi belong together, lo not above hi")
        return self


class Claim(Strict):
    """One claim of the paper and how it is judged."""

    id: Annotated[str, Field(pattern=r"^C[0-9]+$")]
    claim: str
    experiment: Name
    published: Published
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share by which the range is widened on both sides."""
    tolerance_reason: str = ""
    judged: str
    rule: (
        Literal["three_regimes", "knee_position", "plateau_level", "deep_saturation", "prefill_first"] | None
    ) = None
    not_testable: str = ""
    """Why the claim cannot be judged here, when it cannot."""

    @model_validator(mode="after")
    def _rule_or_reason(self) -> Claim:
        if self.rule is None and not self.not_testable:
            raise ValueError("a claim without a rule says in not_testable why")
        return self


class Paper(Strict):
    """The paper that the claims are of."""

    arxiv: str
    title: str
    date: str


class Claims(Strict):
    """The file of claims."""

    paper: Paper
    claims: tuple[Claim, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_once(self) -> Claims:
        ids = [claim.id for claim in self.claims]
        if len(ids) != len(set(ids)):
            raise ValueError("a claim's id stands there twice")
        return self


@dataclass(frozen=True)
class Part:
    """The verdict on one claim by one system."""

    system: str
    verdict: Outcome
    reason: str
    quantity: str
    """What `measured` is."""
    measured: float | None = None
    lo: float | None = None
    hi: float | None = None


def three_regimes(claim: Claim, system: System, workload: str) -> Part:
    """C1: artifact, a stable plateau and growth were all seen, and growth leaves the plateau's interval."""
    del claim
    found = system["workloads"][workload]
    plateau, deepest, knee = found["plateau"], found["deepest"], found["knee"]

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(_title(system), verdict, reason, "PoA-hat at the deepest C over its plateau", *values)

    if plateau is None or deepest is None:
        return part(INCONCLUSIVE, "no plateau could be told: too few valid cells below the knee")
    values = _rise(found)
    rise = f"PoA-hat {number(plateau['poa_hat'])} on the plateau{_cells(plateau)}, {_at(deepest)}"
    if not _has_interval(plateau) or not _has_interval(deepest):
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
    """C2: the knee's interval lies in the published one."""
    found = system["workloads"][workload]
    knee, deepest = found["knee"], found["deepest"]
    assert claim.published.hi is not None

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(_title(system), verdict, reason, "knee, C", *values)

    if knee["exists"]:
        outcome, why = against_range(claim, knee["lo"], knee["hi"])
        reason = f"knee {why}; first grid point past it: C = {knee['first_post_knee']}"
        return part(outcome, reason, knee["knee"], knee["lo"], knee["hi"])
    if deepest is None or deepest["concurrency"] <= claim.published.hi:
        return part(INCONCLUSIVE, f"no knee, and the grid goes no deeper than C = {_end(claim.published.hi)}")
    return part(NOT_REPRODUCED, f"no knee up to C = {deepest['concurrency']}")


def plateau_level(claim: Claim, system: System, workload: str) -> Part:
    """C3: the plateau's interval lies in the published range, or at the system's own published value."""
    plateau = system["workloads"][workload]["plateau"]

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(_title(system), verdict, reason, "PoA-hat on the plateau", *values)

    if plateau is None:
        return part(INCONCLUSIVE, "no plateau could be told")
    here = (system["model"], system["topology"])
    own = [entry.value for entry in claim.published.systems if (entry.model, entry.topology) == here]
    outcome, why = against_range(claim, plateau["lo"], plateau["hi"], own[0] if own else None)
    where = f"C = {plateau['c_from']} to {plateau['c_to']}, {plateau['n_cells']} cells"
    reason = f"plateau{_cells(plateau)} {why} ({where})"
    return part(outcome, reason, plateau["poa_hat"], plateau["lo"], plateau["hi"])


def deep_saturation(claim: Claim, system: System, workload: str) -> Part:
    """C7: PoA-hat at the deepest C, if that lies past the knee.

    Below the published range leaves it open: deeper it might have been reached. Above speaks against it.
    """
    found = system["workloads"][workload]
    deepest, knee = found["deepest"], found["knee"]

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(_title(system), verdict, reason, "PoA-hat at the deepest C", *values)

    if deepest is None:
        return part(INCONCLUSIVE, "no valid cell")
    values = (deepest["poa_hat"], deepest["lo"], deepest["hi"])
    first = knee["first_post_knee"] if knee["exists"] else None
    if first is None or deepest["concurrency"] <= first:
        reason = f"C = {deepest['concurrency']}, the deepest measured, is not deep past a knee"
        return part(INCONCLUSIVE, reason, *values)
    outcome, why = against_range(claim, deepest["lo"], deepest["hi"])
    if outcome == NOT_REPRODUCED:
        assert claim.published.lo is not None
        below = deepest["hi"] < claim.published.lo
        outcome, why = (INCONCLUSIVE, f"{why}, below it") if below else (outcome, f"{why}, above it")
    return part(outcome, f"at C = {deepest['concurrency']} {why}", *values)


def prefill_first(claim: Claim, system: System, workload: str) -> Part:
    """C12: past the plateau TTFT grows by more than ITL."""
    growth = system["workloads"][workload].get("growth")

    def part(verdict: Outcome, reason: str, *values: float | None) -> Part:
        return Part(_title(system), verdict, reason, "TTFT at the deepest C over the plateau's", *values)

    if growth is None:
        return part(NOT_TESTABLE, claim.not_testable)
    ttft, itl = growth["ttft"], growth["itl"]
    values = (ttft["value"], ttft["lo"], ttft["hi"])
    reason = f"TTFT grows {interval(*values)} times, ITL {interval(itl['value'], itl['lo'], itl['hi'])} times"
    if not _has_interval(ttft) or not _has_interval(itl):
        return part(INCONCLUSIVE, f"{reason}; without intervals", *values)
    if ttft["lo"] > itl["hi"]:
        return part(REPRODUCED, reason, *values)
    if itl["lo"] > ttft["hi"]:
        return part(NOT_REPRODUCED, f"{reason}: decode goes first", *values)
    return part(INCONCLUSIVE, f"{reason}; the intervals meet", *values)


RULES: dict[str, Callable[[Claim, System, str], Part]] = {
    "three_regimes": three_regimes,
    "knee_position": knee_position,
    "plateau_level": plateau_level,
    "deep_saturation": deep_saturation,
    "prefill_first": prefill_first,
}


def against_range(
    claim: Claim, lo: float | None, hi: float | None, point: float | None = None
) -> tuple[Outcome, str]:
    """An interval against the published range, or against a published point, widened by the tolerance.

    Inside: reproduced. Disjoint: not reproduced. Overlapping in part, or no interval: inconclusive.
    """
    published = claim.published
    if point is None:
        assert published.lo is not None
        assert published.hi is not None
        low, high = published.lo, published.hi
    else:
        low = high = point
    low, high = low * (1 - claim.tolerance), high * (1 + claim.tolerance)
    open_low = published.lo_open and point is None
    shown = f"{'(' if open_low else '['}{_end(low)}, {_end(high)}]"
    if claim.tolerance:
        shown += f" (published, widened by {claim.tolerance:.0%})"
    if lo is None or hi is None:
        return INCONCLUSIVE, f"has no interval to hold against {shown}"
    if hi < low or (open_low and hi <= low) or lo > high:
        return NOT_REPRODUCED, f"lies outside {shown}"
    if hi <= high and (lo > low or (lo == low and not open_low)):
        return REPRODUCED, f"lies inside {shown}"
    return INCONCLUSIVE, f"lies partly inside {shown}"


def _title(system: System) -> str:
    return f"{system['model_title']} {system['topology_title']}"


def _has_interval(value: Mapping[str, Any]) -> bool:
    return value["lo"] is not None and value["hi"] is not None


def _at(deepest: Mapping[str, Any]) -> str:
    return f"{number(deepest['poa_hat'])} at C = {deepest['concurrency']}"


def _end(value: float) -> str:
    """An end of a published range, as short as it is published."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def show(part: Part) -> str:
    """The measured value with its interval, as in the tables."""
    return interval(part.measured, part.lo, part.hi)
