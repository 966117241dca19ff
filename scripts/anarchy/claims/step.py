"""Whether users marched in step in the cells that a claim rests on: told beside its verdict alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from anarchy.claims.frames import frame_of
from anarchy.claims.model import NOT_TESTABLE, Part, Reach, System
from anarchy.tables.step import step_words

MAIN: Final = ("cells", "stages", "pairs")
"""Tables with a row for each cell that a claim can rest on."""
BEHIND: Final = "users marched in step in cells behind it"


def behind(system: System, workload: str, reach: Reach, way: str) -> str:
    """Which cells of a workload in the reach of a claim marched in step, a clause; empty where none did.

    Without a known knee all cells are in reach.
    """
    rows = next((found for name in MAIN if (found := frame_of(system, name, workload)) is not None), None)
    if rows is None:
        return ""
    if way and "way" in rows:
        rows = rows[rows["way"] == way]
    return step_words(_within(rows, _knee(system, workload), reach))


def with_step(part: Part, system: System, workload: str, reach: Reach) -> Part:
    """A part with what is to be known of its cells' step; as it is where nothing was judged."""
    words = behind(system, workload, reach, part.way)
    return replace(part, notes=(*part.notes, words)) if words and part.verdict != NOT_TESTABLE else part


def _knee(system: System, workload: str) -> float | None:
    """The knee of the ladder itself, or that which loads are multiples of, C."""
    found: Mapping[str, Any] = system["workloads"][workload].get("knee") or {}
    knee = found.get("knee") if found.get("exists") else system.get("knee")
    return None if knee is None else float(knee)


def _within(rows: pd.DataFrame, knee: float | None, reach: Reach) -> pd.DataFrame:
    if knee is None or reach == "both":
        return rows
    mine: pd.DataFrame = rows[
        (rows["concurrency"] < knee) if reach == "below" else (rows["concurrency"] >= knee)
    ]
    return mine
