"""Published value against measured interval: a verdict on every claim of the paper.

A claim is judged apart for each workload and engine, on every system measured (`claim_rules`), and then over
all of them: one system against the claim settles it, and for it all must speak.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from anarchy.claim_rules import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    NOTES,
    OUTCOMES,
    REPRODUCED,
    RULES,
    Claim,
    Claims,
    Outcome,
    Part,
    System,
    show,
)
from anarchy.config_files import load_block
from anarchy.devices import PAPERS_DEVICE
from anarchy.layout import PROJECT
from anarchy.tables import engine_words
from anarchy.trace.writer import disk_errors, write_json

CLAIMS_FILE = PROJECT / "data" / "paper" / "claims.yaml"
SIMULATED = "simulated"
"""What system.json calls an engine that follows a timing table."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim by all systems that one engine measured under one workload."""

    id: str
    claim: str
    published: str
    verdict: Outcome
    reason: str
    measured: str = ""
    """What was measured, and the systems' values of it with their intervals, for people."""
    workload: str = ""
    workload_title: str = ""
    engine: str = ""
    tier: str = ""
    dilation: str = ""
    """Factors of the time dilation, of every system once."""
    label: str = ""
    """Where the values come from, in words: engine, dilation, timing table, tier and kind of interval."""
    parts: tuple[Part, ...] = ()


def load(file: Path = CLAIMS_FILE) -> Claims:
    """Read the claims; raises UserError naming file and key for what does not hold."""
    return load_block(file, Claims)


def judge(claims: Claims, systems: Sequence[System]) -> list[Verdict]:
    """Judge every claim, in order: one verdict for each workload and engine that its experiment measured.

    ``systems`` are documents as in ``system.json``. Besides the keys that every one of them has, a claim may
    look at ``regimes`` ({workload: [[C, regime], ...]}) and, of a workload, at ``growth`` ({"ttft": {"value",
    "lo", "hi"}, "itl": {...}}: ratios of the deepest C to the plateau) and ``rise`` (that ratio of PoA-hat).
    """
    verdicts: list[Verdict] = []
    for claim in claims.claims:
        measured = [system for system in systems if system["experiment"] == claim.experiment]
        groups = dict.fromkeys(
            (workload, system["engine"]) for system in measured for workload in system["workloads"]
        )
        if claim.rule is None:
            verdicts.append(_untested(claim, claim.not_testable))
        elif not groups:
            verdicts.append(_untested(claim, f"the experiment {claim.experiment} has not run"))
        else:
            verdicts += [_judge_group(claim, measured, workload, engine) for workload, engine in groups]
    return verdicts


def _untested(claim: Claim, reason: str) -> Verdict:
    return Verdict(claim.id, claim.claim, claim.published.text, NOT_TESTABLE, reason)


def _judge_group(claim: Claim, systems: Sequence[System], workload: str, engine: str) -> Verdict:
    assert claim.rule is not None
    members = [system for system in systems if system["engine"] == engine and workload in system["workloads"]]
    parts = tuple(RULES[claim.rule](claim, system, workload) for system in members)
    outcome, reason = _combine(parts)
    if claim.rule == "knee_position":
        outcome, reason = _both_models(members, workload, outcome, reason)
    if outcome != NOT_TESTABLE and claim.rule in NOTES:
        reason += f"; {NOTES[claim.rule]}"
    if engine == SIMULATED and outcome != NOT_TESTABLE:
        reason += "; by simulated engines, which follow predicted times: no measurement of the hardware"
    elif engine != PAPERS_DEVICE and outcome != NOT_TESTABLE:
        reason += f"; by {engine}: no measurement of the hardware that the claim is about"
    return Verdict(
        id=claim.id,
        claim=claim.claim,
        published=claim.published.text,
        verdict=outcome,
        reason=reason,
        measured=_measured(parts),
        workload=workload,
        workload_title=members[0]["workloads"][workload]["title"],
        engine=engine,
        tier=", ".join(dict.fromkeys(str(system["tier"]) for system in members)),
        dilation=", ".join(f"{factor:g}x" for factor in sorted({float(s["dilation"]) for s in members})),
        label=engine_words(
            [engine],
            [float(system["dilation"]) for system in members],
            [str(system["tier"]) for system in members],
            _interval_kinds(members),
        ),
        parts=parts,
    )


def _measured(parts: Sequence[Part]) -> str:
    shown = "; ".join(f"{part.system}: {show(part)}" for part in parts if part.measured is not None)
    return f"{parts[0].quantity}. {shown}" if shown else ""


def _interval_kinds(systems: Sequence[System]) -> list[str]:
    """How the intervals came about: across launches from three of them on, as `anarchy system` does it."""
    launches = {len(system.get("deployments") or ()) for system in systems} - {0}
    words = ["within-run"] if min(launches, default=3) < 3 else []
    return words + [f"across {count} launches" for count in sorted(launches) if count >= 3]


def _combine(parts: Sequence[Part]) -> tuple[Outcome, str]:
    """One system against the claim settles it; otherwise all must speak for it."""
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
    return outcome, f"of {len(parts)} system{'s' if len(parts) > 1 else ''}: {tally}"


def _both_models(
    systems: Sequence[System], workload: str, outcome: Outcome, reason: str
) -> tuple[Outcome, str]:
    """C2 speaks of both models: one alone leaves it open unless it already speaks against it.

    Two knees inside (96, 128] have the same next point on the paper's grid, whatever a finer grid says.
    """
    models = list(dict.fromkeys(system["model_title"] for system in systems))
    if len(models) < 2:
        return (
            NOT_REPRODUCED if outcome == NOT_REPRODUCED else INCONCLUSIVE
        ), f"{reason}; only {models[0]} was measured"
    knees = [system["workloads"][workload]["knee"] for system in systems]
    points = sorted({knee["first_post_knee"] for knee in knees if knee["exists"]} - {None})
    same = len(points) == 1 and all(knee["exists"] for knee in knees)
    if same:
        return (
            outcome,
            f"{reason}; the first grid point past the knee is the same for both models, C = {points[0]}",
        )
    shown = ", ".join(f"C = {point}" for point in points) or "none"
    return outcome, f"{reason}; first grid points past the knee: {shown}"


COLUMNS = (
    *("id", "scope", "workload", "engine", "tier", "dilation", "verdict", "published"),
    *("quantity", "measured", "lo", "hi", "reason", "claim"),
)


def write(verdicts: Sequence[Verdict], layout_root: Path) -> list[Path]:
    """Write claims.csv (a row a claim and a row a system), claims.json and claims.md; return the files.

    Raises UserError where they cannot be written.
    """
    csv_file, json_file, md_file = (layout_root / f"claims.{suffix}" for suffix in ("csv", "json", "md"))
    with disk_errors(layout_root):
        layout_root.mkdir(parents=True, exist_ok=True)
        csv_file.write_text(render_csv(verdicts), encoding="utf-8")
        md_file.write_text(render_markdown(verdicts), encoding="utf-8")
    write_json(json_file, [asdict(verdict) for verdict in verdicts])
    return [csv_file, json_file, md_file]


def render_csv(verdicts: Sequence[Verdict]) -> str:
    """Rows of COLUMNS; ``scope`` is ``all systems`` or one system."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for verdict in verdicts:
        names = ("id", "workload", "engine", "tier", "dilation", "published", "claim")
        shared = {name: getattr(verdict, name) for name in names}
        writer.writerow(
            {
                **shared,
                "scope": "all systems",
                "verdict": verdict.verdict,
                "quantity": verdict.parts[0].quantity if verdict.parts else "",
                "measured": verdict.measured,
                "reason": verdict.reason,
            }
        )
        for part in verdict.parts:
            row = {key: value for key, value in asdict(part).items() if key != "system" and value is not None}
            writer.writerow({**shared, **row, "scope": part.system})
    return text.getvalue()


def render_markdown(verdicts: Sequence[Verdict]) -> str:
    """Where the values come from, one table of verdicts, then one of the systems behind them."""
    lines = ["# Claims of the paper against what was measured", ""]
    for label in dict.fromkeys(verdict.label for verdict in verdicts if verdict.label):
        lines += [f"Engine: {label}. Brackets hold the intervals.", ""]
    head = ("claim", "", "published", "measured", "workload", "engine", "verdict", "reason")
    lines += _table(
        head,
        (
            (v.id, v.claim, v.published, v.measured, v.workload_title, v.engine, v.verdict, v.reason)
            for v in verdicts
        ),
    )
    lines += ["", "## By system", ""]
    lines += _table(
        ("claim", "system", "workload", "engine", "quantity", "measured", "verdict", "reason"),
        (
            (
                v.id,
                p.system,
                v.workload_title,
                v.engine,
                p.quantity,
                "" if p.measured is None else show(p),
                p.verdict,
                p.reason,
            )
            for v in verdicts
            for p in v.parts
        ),
    )
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
