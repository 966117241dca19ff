"""What the paper must have run: which settings of a sample make its claims on E1 hold together. Exploratory.

Each setting is asked of every system that measured it, at every depth of the grid: three regimes (C1), a knee
in the published range (C2), and the published growth over the plateau (scale-free, of the systems that it
follows for). It holds together where all of these come out on all systems. No verdict changes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.claims.files import write_beside
from anarchy.claims.growth import GROWTH, as_growth
from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    REPRODUCED,
    Claim,
    Claims,
    Outcome,
    Part,
    System,
    against_range,
    system_title,
)
from anarchy.claims.readings import markdown
from anarchy.claims.rules.ladder import knee_position, three_regimes
from anarchy.designs.readings.design import DESIGN
from anarchy.tables import is_missing, number

STEM: Final = "claims-settings"
HEAD: Final = "Exploratory: what the paper must have run"
ABOUT: Final = (
    "A quasi-random sample of settings that the paper does not state (experiment W3). Of each: does PoA-hat "
    "show three regimes (C1), a knee in the published range (C2) and, where it is published, the growth over "
    "the plateau (scale-free, C7 over C3), at one depth of the grid? A setting holds together where all come "
    "out on all systems; it is open where nothing speaks against it and something does not speak for it. "
    "Intervals are within one launch. The verdicts stand in claims.md, and nothing here changes them."
)
ASKED: Final = {"C1": "three regimes", "C2": "knee", "growth": "growth"}
"""What is asked of a setting, and for people."""
_FOUND: Final = ("plateau", "deepest", "rise", "knee")
FACTORS: Final = ("synchrony", "output_tokens", "shared_tokens", "max_num_batched_tokens")


@dataclass(frozen=True)
class Settled:
    """One setting at one depth under one reading, and what each system says of it."""

    workload: str
    factors: Mapping[str, Any]
    reading: str
    deepest: int
    """C that the grid is taken to end at."""
    parts: Mapping[tuple[str, str], Part] = field(hash=False)
    """By what is asked (C1, C2, growth) and the system's title."""
    systems: int
    """How many of the sample's systems measured it at this depth."""
    of_systems: int
    """How many there are; where one lacks the depth's cell, nothing holds on all of them."""

    def of(self, asked: str) -> Outcome:
        """What all systems say of one question: one against it settles it, and for it all must speak."""
        return self._on_all(part.verdict for (name, _), part in self.parts.items() if name == asked)

    @property
    def outcome(self) -> Outcome:
        """What they say of all of it together."""
        return self._on_all(part.verdict for part in self.parts.values())

    def _on_all(self, outcomes: Iterable[Outcome]) -> Outcome:
        missing: list[Outcome] = [INCONCLUSIVE] * (self.of_systems - self.systems)
        return together([*outcomes, *missing])


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Reproduced where all are, not reproduced where one is not; else, and of none, inconclusive."""
    found = set(outcomes)
    if NOT_REPRODUCED in found:
        return NOT_REPRODUCED
    return REPRODUCED if found == {REPRODUCED} else INCONCLUSIVE


def judge_settings(claims: Claims, systems: Sequence[System]) -> list[Settled]:
    """Every setting of every sample, by reading and depth; empty without a sample.

    ``systems`` are `tables.System.document`. A reading that a system could not take leaves its questions
    open.
    """
    sampled = [system for system in systems if system["design"] == DESIGN.name and system["sampled"]]
    by_id = {claim.id: claim for claim in claims.claims}
    found: dict[tuple[str, str, int], dict[tuple[str, str], Part]] = {}
    factors: dict[str, Mapping[str, Any]] = {}
    counted: dict[tuple[str, str, int], int] = {}
    for system in sampled:
        for row in system["frames"]["depths"].to_dict("records"):
            key = (str(row["workload"]), str(row["reading"]), int(row["deepest_c"]))
            factors[key[0]] = {name: row[name] for name in FACTORS}
            counted[key] = counted.get(key, 0) + 1
            title = system_title(system)
            asked = found.setdefault(key, {})
            asked |= {(name, title): part for name, part in _asked(by_id, system, row).items()}
    return [
        Settled(
            *(workload, factors[workload], reading, deepest, parts),
            *(counted[workload, reading, deepest], len(sampled)),
        )
        for (workload, reading, deepest), parts in found.items()
    ]


def _asked(claims: Mapping[str, Claim], system: System, row: Mapping[Any, Any]) -> dict[str, Part]:
    """C1, C2 and, of a system that it is published of, growth."""
    as_ladder = {**system, "workloads": {row["workload"]: _ladder(row)}}
    parts = {
        "C1": three_regimes(claims["C1"], as_ladder, row["workload"]),
        "C2": knee_position(claims["C2"], as_ladder, row["workload"]),
    }
    published = claims["C7"].scale_free
    if published is None or not any(
        (about.model, about.topology) == (system["model"], system["topology"]) for about in published.systems
    ):
        return parts
    lo, hi = (None if is_missing(row[f"rise_{end}"]) else row[f"rise_{end}"] for end in ("lo", "hi"))
    outcome, why = against_range(as_growth(claims["C7"], published), lo, hi)
    value = None if is_missing(row["rise"]) else row["rise"]
    parts["growth"] = Part(system_title(system), outcome, why, GROWTH, value, lo, hi)
    return parts


def _ladder(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row of `depths` as a ladder's document has it."""
    ends = {
        name: None
        if is_missing(row[name])
        else {"value": row[name], "lo": row[f"{name}_lo"], "hi": row[f"{name}_hi"]}
        for name in _FOUND
    }
    plateau, deepest, rise, knee = (ends[name] for name in _FOUND)
    return {
        "plateau": plateau and {**plateau, "poa_hat": plateau["value"]},
        "deepest": deepest and {**deepest, "poa_hat": deepest["value"], "concurrency": int(row["deepest_c"])},
        "rise": rise,
        "knee": {
            "exists": knee is not None,
            "knee": knee and knee["value"],
            "lo": knee and knee["lo"],
            "hi": knee and knee["hi"],
            "first_post_knee": None if knee is None else int(row["first_post_knee"]),
            "slope_before": None if is_missing(row["slope_before"]) else row["slope_before"],
        },
        "regimes": [[0, name] for name in str(row["regimes"]).split(", ") if name],
    }


def counts_words(found: Sequence[Settled]) -> pd.DataFrame:
    """A row a synchrony, reading and depth: how many settings show each claim, and how many all at once."""
    groups: dict[tuple[str, str, int], list[Settled]] = {}
    for one in found:
        groups.setdefault((one.factors["synchrony"], one.reading, one.deepest), []).append(one)
    rows = []
    for (synchrony, reading, deepest), its in sorted(groups.items()):
        row = {"users": synchrony, "reading": reading, "grid ends at C": str(deepest), "settings": len(its)}
        row["systems"] = min(one.systems for one in its)
        for name, told in ASKED.items():
            row[told] = _count(one.of(name) for one in its)
        rows.append({**row, "all together": _count(one.outcome for one in its)})
    return pd.DataFrame(rows)


def _count(outcomes: Iterable[Outcome]) -> str:
    """How many are reproduced, and how many are open beside them."""
    listed = list(outcomes)
    shown, left = listed.count(REPRODUCED), listed.count(INCONCLUSIVE)
    return f"{shown} (open: {left})" if left else str(shown)


def settings_words(found: Sequence[Settled]) -> pd.DataFrame:
    """A row a setting and depth that nothing speaks against and something for, the whole ones first."""
    held = sorted(
        (
            one
            for one in found
            if one.outcome != NOT_REPRODUCED
            and any(part.verdict == REPRODUCED for part in one.parts.values())
        ),
        key=lambda one: (one.outcome != REPRODUCED, one.reading, one.deepest, one.workload),
    )
    return pd.DataFrame(
        {
            "users": [one.factors["synchrony"] for one in held],
            "reading": [one.reading for one in held],
            "tokens out": [number(one.factors["output_tokens"]) for one in held],
            "tokens shared": [number(one.factors["shared_tokens"]) for one in held],
            "tokens a step": [number(one.factors["max_num_batched_tokens"]) for one in held],
            "grid ends at C": [str(one.deepest) for one in held],
            **{told: [_measured(one, name) for one in held] for name, told in ASKED.items()},
            "together": [one.outcome for one in held],
        }
    )


def _measured(one: Settled, asked: str) -> str:
    """What the systems measured of one question, and whether each of them speaks for it."""
    told = [
        f"{system}: {'-' if part.measured is None else number(part.measured)}"
        + ("" if part.verdict == REPRODUCED else f" ({part.verdict})")
        for (name, system), part in one.parts.items()
        if name == asked
    ]
    return "; ".join(told)


def write_settings(found: Sequence[Settled], root: Path) -> list[Path]:
    """Write claims-settings.csv and .md; nothing, and no file, where there is no sample.

    Raises UserError where they cannot be written.
    """
    if not found:
        return []
    return write_beside(root, STEM, render_settings_csv(found), render_settings(found))


def render_settings_csv(found: Sequence[Settled]) -> str:
    """A row a setting, reading, depth, question and system."""
    rows = [
        {
            "workload": one.workload,
            **one.factors,
            "reading": one.reading,
            "deepest_c": one.deepest,
            "together": one.outcome,
            "asked": asked,
            "system": system,
            "verdict": part.verdict,
            "measured": part.measured,
            "lo": part.lo,
            "hi": part.hi,
        }
        for one in found
        for (asked, system), part in one.parts.items()
    ]
    text = io.StringIO()
    pd.DataFrame(rows).to_csv(text, index=False, float_format="%.5g", lineterminator="\n")
    return text.getvalue()


def render_settings(found: Sequence[Settled]) -> str:
    """Both tables in Markdown, headed as exploratory."""
    lines = [f"# {HEAD}", "", ABOUT, "", "## How many settings", "", *markdown(counts_words(found))]
    listed = settings_words(found)
    table = ["None."] if listed.empty else markdown(listed)
    return "\n".join([*lines, "", "## Those that nothing speaks against and something for", "", *table, ""])
