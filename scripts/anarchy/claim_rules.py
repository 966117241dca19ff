"""The rules by which claims of the paper are judged: one claim, one system, one workload -> one verdict.

An interval inside the published range (widened by the claim's tolerance) speaks for the claim, one outside of
it against; one that overlaps it in part, or a value without an interval, leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from anarchy.config import Name, Strict

Outcome = Literal["reproduced", "not reproduced", "inconclusive", "not testable here"]
REPRODUCED: Outcome = "reproduced"
NOT_REPRODUCED: Outcome = "not reproduced"
INCONCLUSIVE: Outcome = "inconclusive"
NOT_TESTABLE: Outcome = "not testable here"
OUTCOMES = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_TESTABLE)

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
    """C1: artifact, plateau and growth were all seen, and growth leaves the plateau's interval."""
    del claim
    found = system["workloads"][workload]
    plateau, deepest, knee = found["plateau"], found["deepest"], found["knee"]

    def part(verdict: Outcome, reason: str, growth: float | None = None) -> Part:
        return Part(_title(system), verdict, reason, "PoA-hat at the deepest C over its plateau", growth)

    if plateau is None or deepest is None:
        return part(INCONCLUSIVE, "no plateau could be told: too few valid cells below the knee")
    growth = float(deepest["poa_hat"] / plateau["poa_hat"]) if plateau["poa_hat"] else None
    rise = f"PoA-hat {_show_value(plateau['poa_hat'])} on the plateau, {_at(deepest)}"
    if not _has_interval(plateau) or not _has_interval(deepest):
        return part(INCONCLUSIVE, f"{rise}; without intervals", growth)
    grows = deepest["lo"] > plateau["hi"]
    if not grows and not knee["exists"]:
        return part(NOT_REPRODUCED, f"{rise}: no knee and no growth up to the deepest C", growth)
    if not grows or not knee["exists"]:
        return part(INCONCLUSIVE, f"{rise}: the knee and the growth do not agree", growth)
    regimes = {regime for _, regime in found.get("regimes") or system.get("regimes", {}).get(workload, [])}
    missing = [name for name in ("artifact", "plateau", "growth") if name not in regimes]
    if missing:
        return part(INCONCLUSIVE, f"{rise}; no grid point in the regime {', '.join(missing)}", growth)
    return part(REPRODUCED, f"{rise}; knee at C = {_show_value(knee['knee'])}", growth)


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
        return part(
            INCONCLUSIVE, f"no knee, and the grid goes no deeper than C = {_show_value(claim.published.hi)}"
        )
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
    reason = f"plateau {why} (C = {plateau['c_from']} to {plateau['c_to']}, {plateau['n_cells']} cells)"
    return part(outcome, reason, plateau["poa_hat"], plateau["lo"], plateau["hi"])


def deep_saturation(claim: Claim, system: System, workload: str) -> Part:
    """C7: PoA-hat at the deepest C, if that lies past the knee."""
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
    reason = f"TTFT grows {_show_value(ttft['value'])} times, ITL {_show_value(itl['value'])} times"
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
    shown = f"{'(' if open_low else '['}{_show_value(low)}, {_show_value(high)}]"
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
    return f"{_show_value(deepest['poa_hat'])} at C = {deepest['concurrency']}"


def _show_value(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def show(part: Part) -> str:
    """The measured value with its interval, three digits."""
    assert part.measured is not None
    if part.lo is None or part.hi is None:
        return _show_value(part.measured)
    return f"{_show_value(part.measured)} [{_show_value(part.lo)}, {_show_value(part.hi)}]"
