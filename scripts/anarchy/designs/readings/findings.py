"""What ladders under every reading found, in sentences of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from anarchy.designs.readings.columns import READING
from anarchy.designs.readings.sets import several_sets
from anarchy.ground.words import interval, is_missing, span, whole
from anarchy.tables import System


def parts(system: System, workload: str) -> list[str]:
    """Level and depth under the reading that is drawn, a clause a policy."""
    rows = system.of(workload, "ladders")
    low, high = system.info["level_over"]
    clauses, several = [], several_sets(rows)
    for row in rows[rows["reading"] == READING].to_dict("records"):
        told = interval(row["level"], row["level_lo"], row["level_hi"])
        deep = interval(row["deepest"], row["deepest_lo"], row["deepest_hi"])
        of_set = f" ({row['routing_set']})" if several else ""
        clauses.append(
            f"{row['policy_title']}{of_set}: PoA-hat ({READING}) {told} over C = {low} to {high}, {deep} at "
            f"C = {whole(row['deepest_c'])}, {_knee(row['knee'], row['knee_lo'], row['knee_hi'])}"
        )
    return clauses


def _knee(value: float, lo: float, hi: float) -> str:
    return "no knee" if is_missing(value) else f"knee at C = {interval(value, lo, hi)}"


def notes(system: System, workload: str) -> list[str]:  # noqa: ARG001
    """Nothing beside what the document notes."""
    return []


def answer(systems: Sequence[System]) -> str:
    """Level under the reading that is drawn, over all systems, users and policies."""
    rows = pd.concat([system.frames["ladders"] for system in systems])
    levels = rows.loc[(rows["reading"] == READING) & rows["level"].notna(), "level"]
    if levels.empty:
        return f"No level could be taken under the reading {READING}."
    return f"Read as {READING}, the level of PoA-hat is {span(list(levels))}, by users, policies and systems."
