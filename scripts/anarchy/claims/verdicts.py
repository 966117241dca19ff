"""From claims and measured systems to verdicts: rules are asked, and their answers put together.

A claim is judged apart for each workload, engine and way to route, on every system measured, and then over
all of them: one system against the claim settles it, and for it all must speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from anarchy.claims.deciding import LAUNCHES
from anarchy.claims.engines import decided, measured_by, remark
from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    OUTCOMES,
    REPRODUCED,
    About,
    Claim,
    Claims,
    Outcome,
    Part,
    PublishedSystem,
    System,
    show,
    system_title,
)
from anarchy.claims.rules import notes as rule_notes
from anarchy.claims.rules import rules
from anarchy.claims.rules.drift import beside
from anarchy.claims.step import BEHIND, behind, with_step
from anarchy.claims.validation import validated
from anarchy.config import Choices
from anarchy.config.files import load_block
from anarchy.engines.devices import common_label, is_virtual
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, PROJECT
from anarchy.tables import engine_words, is_missing
from anarchy.tables.knees import knee_words

OURS: Final = "the paper did not measure this topology, so it does not count"

CLAIMS_FILE = PROJECT / "data" / "paper" / "claims.yaml"


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim by all systems that one engine measured under one workload."""

    id: str
    claim: str
    sentence: str
    """The claim in one short sentence."""
    published: str
    verdict: Outcome
    reason: str
    decides: str = ""
    """What would decide a claim that is not decided, each a clause."""
    command: str = ""
    """What measures and judges it, or has."""
    minutes: float | None = None
    """What measuring the systems behind it took, wall time of their deployments; None where none was."""
    notes: tuple[str, ...] = ()
    """What has to be known with it, each a sentence that may stand with other verdicts too."""
    measured: str = ""
    """What was measured, and the systems' values of it with their intervals, for people."""
    workload: str = ""
    workload_title: str = ""
    way: str = ""
    """Way to route, where the claim is judged apart for each."""
    engine: str = ""
    tier: str = ""
    dilation: str = ""
    """Factors of the time dilation, of every system once."""
    label: str = ""
    """Where the values come from, in words: engine, dilation, timing table, tier and kind of interval."""
    knee: str = ""
    """Whose knee the loads behind it are multiples of, in words; empty where they are of no knee."""
    launches_to_decide: int | None = None
    """Where it is left open and launches would decide every system that is: how many."""
    parts: tuple[Part, ...] = ()


def load(file: Path = CLAIMS_FILE) -> Claims:
    """Read the claims; raises UserError naming file and key for what does not hold or does not exist."""
    claims = load_block(file, Claims)
    for key, kind, name in _named(claims):
        known = sorted(block.stem for block in (CONFIG / kind).glob("*.yaml"))
        if name not in known:
            raise UserError(
                f"key {key!r}: there is no {name!r} among the {kind}",
                where=file,
                remedy=f"known: {', '.join(known)}",
            )
    return claims


def _named(claims: Claims) -> Iterator[tuple[str, str, str]]:
    """Every block of the study that the claims name: key, folder of its kind, name."""
    for place, topology in enumerate(claims.paper.topologies):
        yield f"paper.topologies.{place}", "topologies", topology
    for place, claim in enumerate(claims.claims):
        here = f"claims.{place}"
        yield f"{here}.experiment", "experiments", claim.experiment
        for number, name in enumerate(claim.also):
            yield f"{here}.also.{number}", "experiments", name
        systems: dict[str, Sequence[About | PublishedSystem]] = {
            f"{here}.systems": claim.systems,
            f"{here}.published.systems": claim.published.systems,
        }
        for key, about in systems.items():
            for number, system in enumerate(about):
                yield f"{key}.{number}.model", "models", system.model
                yield f"{key}.{number}.topology", "topologies", system.topology


def judge(claims: Claims, systems: Sequence[System]) -> list[Verdict]:
    """Judge every claim, in order: one verdict for each workload, engine and way measured.

    ``systems`` are `tables.System.document`: system.json with the tables beside it under ``frames``. Besides
    the keys that every one of them has, a claim on E1 may look at ``regimes`` ({workload: [[C, regime],
    ...]}) and, of a workload, at ``growth`` ({"ttft": {"value", "lo", "hi"}, "itl": {...}}: ratios of the
    deepest C to the plateau) and ``rise`` (that ratio of PoA-hat). Where virtual numbers judge, systems of
    design ``engines`` among them say whether these may (`validation`).
    """
    verdicts: list[Verdict] = []
    for claim in claims.claims:
        shows = (claim.experiment, *claim.also)
        there = [system for system in systems if system["experiment"] in shows]
        about = [system for system in there if _is_about(claim, system)]
        measured = [{**beside(system, systems), "ours": _is_ours(claims, system)} for system in about]
        groups = dict.fromkeys(
            (workload, system["engine"]) for system in measured for workload in system["workloads"]
        )
        if claim.rule is None:
            verdicts.append(_untested(claim, claim.not_testable, systems))
        elif not there:
            reason = f"the experiment {claim.experiment} has not run"
            verdicts.append(_untested(claim, reason, systems, "measuring it would decide"))
        elif not groups:
            names = ", ".join(f"{about.model} {about.topology}" for about in claim.systems)
            reason = f"it is about {names}, which {claim.experiment} did not measure"
            verdicts.append(_untested(claim, reason, systems, "measuring it would decide"))
        else:
            for workload, engine in groups:
                members = [system for system in measured if system["engine"] == engine]
                verdicts += _judge_group(claim, members, workload, systems)
    return verdicts


def _untested(claim: Claim, reason: str, systems: Sequence[System], decides: str = "") -> Verdict:
    return Verdict(
        *(claim.id, claim.claim, claim.sentence, claim.published.text, NOT_TESTABLE, reason, decides),
        command=command(claim, systems),
    )


def command(claim: Claim, systems: Sequence[System]) -> str:
    """What measures the systems that a claim is about and judges it, at the tier of these systems."""
    tiers = list(dict.fromkeys(str(system["tier"]) for system in systems)) or [Choices().tier]
    words = [f"TIER={tiers[0]}", f"EXPERIMENTS={','.join((claim.experiment, *claim.also))}"]
    models = list(dict.fromkeys(about.model for about in claim.systems))
    return " ".join(["make reproduce", *words, *([f"MODELS={','.join(models)}"] if models else [])])


def _minutes(systems: Sequence[System]) -> float | None:
    """Wall time of the deployments of systems, min; None where none is told."""
    seconds = [
        float(one["wall_s"])
        for system in systems
        for one in system.get("deployments") or ()
        if not is_missing(one.get("wall_s"))
    ]
    return round(sum(seconds) / 60.0, 1) if seconds else None


def _is_about(claim: Claim, system: System) -> bool:
    here = (system["model"], system["topology"])
    return not claim.systems or here in [(about.model, about.topology) for about in claim.systems]


def _is_ours(claims: Claims, system: System) -> bool:
    """Whether the paper did not measure such a topology, so that it settles none of its claims."""
    known = claims.paper.topologies
    return bool(known) and system["topology"] not in known


def _judge_group(
    claim: Claim, members: Sequence[System], workload: str, systems: Sequence[System]
) -> list[Verdict]:
    """The verdicts by the systems of one label under one workload: one a way to route."""
    assert claim.rule is not None
    members = [system for system in members if workload in system["workloads"]]
    parts: list[Part] = []
    for system in members:
        for part in rules()[claim.rule](claim, system, workload):
            virtual = is_virtual(measured_by(system, part.way))
            reach = "both" if part.aside else claim.range
            told = validated(part, system, workload, reach, systems) if virtual else part
            told = with_step(told, system, workload, reach)
            parts.append(_aside(told) if system["ours"] else told)
    return [
        _verdict(claim, members, workload, tuple(part for part in parts if part.way == way))
        for way in dict.fromkeys(part.way for part in parts)
    ]


def _aside(part: Part) -> Part:
    """What a topology of ours says: told, and not counted."""
    return replace(part, notes=(*part.notes, OURS), aside=True)


def _verdict(claim: Claim, members: Sequence[System], workload: str, parts: tuple[Part, ...]) -> Verdict:
    engine = common_label([measured_by(system, parts[0].way) for system in members])
    outcome, reason = _combine(parts)
    decides = _decides(outcome, parts)
    if claim.rule == "knee_position" and outcome != NOT_TESTABLE:
        counting = [system for system in members if not system["ours"]]
        outcome, reason, both = _both_models(counting, workload, outcome, reason)
        decides = both or decides
    return Verdict(
        id=claim.id,
        claim=claim.claim,
        sentence=claim.sentence,
        published=claim.published.text,
        verdict=outcome,
        reason=reason,
        decides=decides,
        command=command(claim, members),
        minutes=_minutes(members),
        notes=() if outcome == NOT_TESTABLE else _notes(claim, members, workload, parts[0].way, engine),
        measured=_measured(parts),
        workload=workload,
        workload_title=members[0]["workloads"][workload]["title"],
        way=parts[0].way,
        engine=engine,
        tier=", ".join(dict.fromkeys(str(system["tier"]) for system in members)),
        dilation=", ".join(f"{factor:g}x" for factor in sorted({float(s["dilation"]) for s in members})),
        label=engine_words(
            [engine],
            [float(system["dilation"]) for system in members],
            [str(system["tier"]) for system in members],
            _interval_kinds(members),
        ),
        knee=_knees(members, workload),
        launches_to_decide=_launches_to_decide(outcome, parts),
        parts=parts,
    )


def _notes(claim: Claim, members: Sequence[System], workload: str, way: str, engine: str) -> tuple[str, ...]:
    """What has to be known with a verdict: of its rule, of its users, and which engine decided."""
    known = rule_notes()
    said = [known[key] for key in (claim.rule, f"{claim.rule}, {way}") if key in known]
    marched = any(behind(system, workload, claim.range, way) for system in members)
    return tuple(filter(None, [*said, BEHIND if marched else "", decided(engine), remark(engine)]))


def _decides(outcome: Outcome, parts: Sequence[Part]) -> str:
    """What would decide every part that is left open: each clause once, and what holds of any interval."""
    if outcome != INCONCLUSIVE:
        return ""
    open_ = [part for part in parts if part.verdict == INCONCLUSIVE and not part.aside]
    return "; ".join(dict.fromkeys(part.decides or _usual(part) for part in open_))


def _usual(part: Part) -> str:
    """What would decide a part whose rule names nothing."""
    if part.measured is None:
        return "the measurement that is named as missing would decide"
    if part.lo is None:
        return f"an interval would decide, so {LAUNCHES} launches"
    return "a narrower interval would decide, by more launches or longer cells"


def _knees(members: Sequence[System], workload: str) -> str:
    """Whose knees the loads of systems are multiples of."""
    words = {system_title(system): knee_words(system, workload) for system in members}
    return "; ".join(f"{title}: {told}" for title, told in words.items() if told)


def _launches_to_decide(outcome: Outcome, parts: Sequence[Part]) -> int | None:
    """Launches that would decide every part that is left open; None where one of them has no such number."""
    counts = [part.launches_to_decide for part in parts if part.verdict == INCONCLUSIVE and not part.aside]
    known = [count for count in counts if count is not None]
    return max(known) if outcome == INCONCLUSIVE and known and len(known) == len(counts) else None


def _measured(parts: Sequence[Part]) -> str:
    shown: dict[str, list[str]] = {}
    for part in parts:
        if part.measured is not None:
            shown.setdefault(part.quantity, []).append(f"{part.system}: {show(part)}")
    return " ".join(f"{quantity}. {'; '.join(values)}" for quantity, values in shown.items())


def _interval_kinds(systems: Sequence[System]) -> list[str]:
    """How the intervals came about: across launches from three of them on, as `anarchy system` does it."""
    launches = {len({one.get("trial") for one in system.get("deployments") or ()}) for system in systems} - {
        0
    }
    words = ["within-run"] if min(launches, default=3) < 3 else []
    return words + [f"across {count} launches" for count in sorted(launches) if count >= 3]


def _combine(parts: Sequence[Part]) -> tuple[Outcome, str]:
    """One system against the claim settles it; otherwise all that are not aside must speak for it."""
    aside = "; other values stand beside it and do not count" if any(p.aside for p in parts) else ""
    parts = [part for part in parts if not part.aside]
    if not parts:
        return NOT_TESTABLE, "no topology of the paper was measured"
    counts = {outcome: sum(part.verdict == outcome for part in parts) for outcome in OUTCOMES}
    if counts[NOT_TESTABLE] == len(parts):
        return NOT_TESTABLE, parts[0].reason
    if counts[NOT_REPRODUCED]:
        outcome = NOT_REPRODUCED
    elif counts[REPRODUCED] == len(parts):
        outcome = REPRODUCED
    else:
        outcome = INCONCLUSIVE
    tally = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    what = "system" if len({part.system for part in parts}) == len(parts) else "comparison"
    return outcome, f"of {len(parts)} {what}{'s' if len(parts) > 1 else ''}: {tally}{aside}"


def _both_models(
    systems: Sequence[System], workload: str, outcome: Outcome, reason: str
) -> tuple[Outcome, str, str]:
    """C2 speaks of both models: one alone leaves it open unless it already speaks against it.

    Two knees inside (96, 128] have the same next point on the paper's grid, whatever a finer grid says.
    """
    models = list(dict.fromkeys(system["model_title"] for system in systems))
    if len(models) < 2:
        only = f"{reason}; only {models[0]} was measured"
        if outcome == NOT_REPRODUCED:
            return outcome, only, ""
        return INCONCLUSIVE, only, "the other model would decide"
    knees = [system["workloads"][workload]["knee"] for system in systems]
    points = sorted({knee["first_post_knee"] for knee in knees if knee["exists"]} - {None})
    same = len(points) == 1 and all(knee["exists"] for knee in knees)
    if same:
        return (
            outcome,
            f"{reason}; the first grid point past the knee is the same for both models, C = {points[0]}",
            "",
        )
    shown = ", ".join(f"C = {point}" for point in points) or "none"
    return outcome, f"{reason}; first grid points past the knee: {shown}", ""
