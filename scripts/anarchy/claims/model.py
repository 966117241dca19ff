"""A claim of the paper, what speaks for or against it, and an interval held against a published range.

An interval inside the published range (widened by the claim's tolerance) speaks for the claim, one outside of
it against; one that overlaps it in part, or a value without an interval, leaves it open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from anarchy.config import Name, Strict
from anarchy.config.values import refusal
from anarchy.tables import interval

Outcome = Literal["reproduced", "not reproduced", "inconclusive", "not testable here"]
REPRODUCED: Outcome = "reproduced"
NOT_REPRODUCED: Outcome = "not reproduced"
INCONCLUSIVE: Outcome = "inconclusive"
NOT_TESTABLE: Outcome = "not testable here"
OUTCOMES = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_TESTABLE)

Reach = Literal["below", "past", "both"]
"""Which side of the knee a claim is about."""

System = Mapping[str, Any]
"""One system.json and, under `frames`, the tables beside it: what was estimated of a model on a topology."""


def _known(name: str) -> str:
    from anarchy.claims.rules import rules  # they are about what stands here

    if name not in rules():
        raise refusal(f"there is no rule {name!r}", f"known: {', '.join(rules())}")
    return name


RuleName = Annotated[str, AfterValidator(_known)]
"""Name of a rule of `claims.rules`."""


class About(Strict):
    """A system that a claim is about."""

    model: Name
    topology: Name


class PublishedRatio(Strict):
    """A published ratio static / adaptive of one quantity."""

    quantity: Literal["poa_hat", "ttft_p99", "throughput_rps"]
    value: Annotated[float, Field(gt=0)]
    tolerance: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Replaces the claim's for this quantity."""


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
    ratios: tuple[PublishedRatio, ...] = ()

    @model_validator(mode="after")
    def _whole_range(self) -> Published:
        if (self.lo is None) != (self.hi is None) or (self.lo or 0.0) > (self.hi or 0.0):
            raise ValueError("lo and hi belong together, lo not above hi")
        return self


class ScaleFree(Strict):
    """Published growth of PoA-hat from the plateau to deep saturation, free of the cost model's scale."""

    text: str
    lo: Annotated[float, Field(gt=0)]
    hi: Annotated[float, Field(gt=0)]
    systems: tuple[About, ...]
    """The systems that it follows for."""


class Claim(Strict):
    """One claim of the paper and how it is judged."""

    id: Annotated[str, Field(pattern=r"^[CPQ][0-9]+$")]
    claim: str
    sentence: str
    """The same in one short sentence, for who has ten seconds."""
    experiment: Name
    also: tuple[Name, ...] = ()
    """Further experiments that can show it."""
    range: Reach = "both"
    """Which side of the knee it is about: what must agree between engines where virtual numbers judge it."""
    published: Published
    scale_free: ScaleFree | None = None
    """Told beside the level, and never decides it."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share by which the range is widened on both sides."""
    tolerance_reason: str = ""
    judged: str
    systems: tuple[About, ...] = ()
    """The systems that it is about; empty = all."""
    negligible: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest CV at which an effect counts as none, where the claim gives no number; ours."""
    rule: RuleName | None = None
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
    topologies: tuple[Name, ...] = ()
    """Those that it measured; others are told beside them. Empty: all count."""


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
    way: str = field(default="", kw_only=True)
    """Way to route, where the claim is judged apart for each."""
    launches_to_decide: int | None = field(default=None, kw_only=True)
    """Of a part that is left open: how many launches would decide it, where a number would."""
    decides: str = field(default="", kw_only=True)
    """Of a part that is left open: what would decide it, as a clause; empty where nothing is known to."""
    published: tuple[float, float] | None = field(default=None, kw_only=True)
    """The published value or range that `measured` is held against, not widened; None where there is none."""
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    """What has to be known of it besides, each a clause that may stand with many parts."""
    aside: bool = field(default=False, kw_only=True)
    """Told beside the others, and not counted."""


def range_of(claim: Claim, point: float | None = None) -> tuple[float, float]:
    """The published range, or a published point, widened by the tolerance."""
    low, high = ends_of(claim, point)
    return low * (1 - claim.tolerance), high * (1 + claim.tolerance)


def ends_of(claim: Claim, point: float | None = None) -> tuple[float, float]:
    """The published range, or a published point, as it is published."""
    if point is not None:
        return point, point
    assert claim.published.lo is not None
    assert claim.published.hi is not None
    return claim.published.lo, claim.published.hi


def against_range(
    claim: Claim, lo: float | None, hi: float | None, point: float | None = None
) -> tuple[Outcome, str]:
    """An interval against the published range, or against a published point, widened by the tolerance.

    Inside: reproduced. Disjoint: not reproduced. Overlapping in part, or no interval: inconclusive.
    """
    low, high = range_of(claim, point)
    open_low = claim.published.lo_open and point is None
    shown = f"{'(' if open_low else '['}{end_of(low)}, {end_of(high)}]"
    if claim.tolerance:
        shown += f" (published, widened by {claim.tolerance:.0%})"
    if lo is None or hi is None:
        return INCONCLUSIVE, f"has no interval to hold against {shown}"
    if hi < low or (open_low and hi <= low) or lo > high:
        return NOT_REPRODUCED, f"lies outside {shown}"
    if hi <= high and (lo > low or (lo == low and not open_low)):
        return REPRODUCED, f"lies inside {shown}"
    return INCONCLUSIVE, f"lies partly inside {shown}"


def system_title(system: System) -> str:
    """For people: the model and the topology."""
    return f"{system['model_title']} {system['topology_title']}"


def has_interval(value: Mapping[str, Any]) -> bool:
    """Whether a value of a document stands there with both ends of its interval."""
    return value["lo"] is not None and value["hi"] is not None


def end_of(value: float) -> str:
    """An end of a published range, as short as it is published."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def show(part: Part) -> str:
    """The measured value with its interval, as in the tables."""
    return interval(part.measured, part.lo, part.hi)
