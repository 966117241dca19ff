"""The claims on E1 under every reading of PoA-hat and every synchrony of users: exploratory.

No verdict changes. Each workload, set of policies, policy and reading that the design `readings` measured is
handed to the rules as if it were E1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.claims.files import write_beside
from anarchy.claims.model import REPRODUCED, Claims, Outcome, Part, System, show, system_title
from anarchy.claims.rules.ladder import RULES
from anarchy.claims.verdicts import judge
from anarchy.designs.engines.design import DESIGN as ENGINES
from anarchy.designs.readings.design import DESIGN
from anarchy.games.readings import READINGS

STEM: Final = "claims-readings"
HEAD: Final = "Exploratory: claims under every reading of PoA-hat and every synchrony of users"
ABOUT: Final = (
    "The verdicts stand in claims.md, by E1 under the reading fitted, and nothing here changes them. These "
    "are the same rules, asked of users who keep apart more or less (experiment W2) and of every reading of "
    "PoA-hat. A verdict is of all systems together, as there; C2 needs both models. A reading that could not "
    "be taken in a launch is named as refused."
)


@dataclass(frozen=True)
class Read:
    """A claim by one workload, policy of one set and reading."""

    id: str
    workload: str
    workload_title: str
    routing_set: str
    policy: str
    tau: float
    reading: str
    verdict: Outcome
    parts: tuple[Part, ...]
    """One a system, those that count."""
    refused: tuple[str, ...] = ()
    """Systems of which a launch has no such reading."""


def judge_readings(claims: Claims, systems: Sequence[System]) -> list[Read]:
    """Every claim on a ladder under every reading, by workload, set and policy; empty without such a ladder.

    Settings of a sample are left to `settings`. ``systems`` are `tables.System.document`; those of design
    ``engines`` are witnesses, as in `judge`.
    """
    mine = [system for system in systems if system["design"] == DESIGN.name and not system["sampled"]]
    witnesses = [system for system in systems if system["design"] == ENGINES.name]
    asked = claims.model_copy(update={"claims": tuple(one for one in claims.claims if one.rule in RULES)})
    found = []
    ladders = [one for system in mine for one in system["ladders"]]
    sets = list(dict.fromkeys(one["routing_set"] for one in ladders))
    for of, policy, tau in dict.fromkeys((one["routing_set"], one["policy"], one["tau"]) for one in ladders):
        taken = {one["reading"] for one in ladders}
        for reading in (one for one in READINGS if one in taken):
            read = [_as_ladder(system, of, policy, reading) for system in mine]
            for verdict in judge(asked, [*read, *witnesses]):
                parts = tuple(part for part in verdict.parts if not part.aside)
                refused = tuple(
                    system_title(system)
                    for system in mine
                    if _refused(system, verdict.workload, of, policy, reading)
                )
                found.append(
                    Read(
                        *(verdict.id, verdict.workload, verdict.workload_title, of, policy, tau, reading),
                        *(verdict.verdict, parts, refused),
                    )
                )
    order = [claim.id for claim in asked.claims]
    workloads = [name for system in mine for name in system["workloads"]]
    return sorted(
        found,
        key=lambda one: (
            order.index(one.id),
            workloads.index(one.workload),
            sets.index(one.routing_set),
            one.tau,
            READINGS.index(one.reading),
        ),
    )


def _as_ladder(system: System, of: str, policy: str, reading: str) -> System:
    """One policy of one set and one reading of a system, as E1 would have told it."""
    cells = system["frames"]["cells"]
    wanted = (of, policy, reading)
    its = [one for one in system["ladders"] if (one["routing_set"], one["policy"], one["reading"]) == wanted]
    return {
        **system,
        "experiment": "equilibrium",
        "design": "ladder",
        "policy": policy,
        "workloads": {one["workload"]: one["found"] for one in its},
        "frames": {"cells": cells[(cells["routing_set"] == of) & (cells["policy"] == policy)]},
    }


def _refused(system: System, workload: str, of: str, policy: str, reading: str) -> bool:
    rows = system["frames"]["ladders"]
    mine = (rows["workload"] == workload) & (rows["routing_set"] == of)
    mine &= (rows["policy"] == policy) & (rows["reading"] == reading)
    return bool((rows.loc[mine, "refused"] != "").any())


def readings_words(found: Sequence[Read]) -> pd.DataFrame:
    """A row a claim, workload, set and policy, a column a reading: verdicts, and which alone has it."""
    rows, several = [], _several_sets(found)
    for (claim, title, of, tau), its in _groups(found).items():
        rows.append(
            {
                "claim": claim,
                "users": title,
                **({"set": of} if several else {}),
                "tau": f"{tau:g}",
                **{one.reading: _word(one) for one in its.values()},
                "holds": _holds(its),
            }
        )
    return pd.DataFrame(rows)


def values_words(found: Sequence[Read]) -> pd.DataFrame:
    """A row a claim, workload, set, policy and reading: what each system measured, and how it was judged."""
    rows, several = [], _several_sets(found)
    for one in found:
        told = {
            part.system: part.verdict if part.measured is None else f"{show(part)}, {part.verdict}"
            for part in one.parts
        }
        head = {"claim": one.id, "users": one.workload_title, **({"set": one.routing_set} if several else {})}
        rows.append({**head, "tau": f"{one.tau:g}", "reading": one.reading, **told})
    return pd.DataFrame(rows).fillna("")


def _groups(found: Iterable[Read]) -> dict[tuple[str, str, str, float], dict[str, Read]]:
    groups: dict[tuple[str, str, str, float], dict[str, Read]] = {}
    for one in found:
        groups.setdefault((one.id, one.workload_title, one.routing_set, one.tau), {})[one.reading] = one
    return groups


def _several_sets(found: Iterable[Read]) -> bool:
    """Whether there is more than one set, so that each row has to name its own."""
    return len({one.routing_set for one in found}) > 1


def _word(one: Read) -> str:
    refused = f" (refused: {', '.join(one.refused)})" if one.refused else ""
    return f"{one.verdict}{refused}"


def _holds(its: Mapping[str, Read]) -> str:
    """Under which readings a claim holds, and whether under one alone."""
    names = [name for name, one in its.items() if one.verdict == REPRODUCED]
    if len(names) == 1:
        return f"under {names[0]} alone"
    return f"under {', '.join(names)}" if names else "under none"


def write_readings(found: Sequence[Read], root: Path) -> list[Path]:
    """Write claims-readings.csv and .md; nothing, and no file, where there is nothing.

    Raises UserError where they cannot be written.
    """
    if not found:
        return []
    return write_beside(root, STEM, render_readings_csv(found), render_readings(found))


_COLUMNS: Final = (
    *("id", "workload", "routing_set", "policy", "tau", "reading", "scope", "verdict"),
    *("quantity", "measured", "lo", "hi", "reason", "refused"),
)


def render_readings_csv(found: Sequence[Read]) -> str:
    """A row a claim, workload, set, policy and reading, and under each a row a system."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for one in found:
        head: dict[str, Any] = {name: getattr(one, name) for name in _COLUMNS[:6]}
        writer.writerow(
            {**head, "scope": "all systems", "verdict": one.verdict, "refused": "; ".join(one.refused)}
        )
        for part in one.parts:
            told = {
                name: getattr(part, name)
                for name in ("verdict", "quantity", "measured", "lo", "hi", "reason")
            }
            row = {name: value for name, value in told.items() if value is not None}
            writer.writerow({**head, "scope": part.system, **row})
    return text.getvalue()


def render_readings(found: Sequence[Read]) -> str:
    """Both tables in Markdown, headed as exploratory."""
    lines = [f"# {HEAD}", "", ABOUT, "", "## By reading", "", *markdown(readings_words(found))]
    return "\n".join([*lines, "", "## What each system measured", "", *markdown(values_words(found)), ""])


def markdown(table: pd.DataFrame) -> list[str]:
    """A table as lines of Markdown."""
    rows: list[list[str]] = table.astype(str).to_numpy().tolist()
    cells = [[str(name) for name in table], ["---"] * table.shape[1], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
