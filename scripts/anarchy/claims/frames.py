"""What rules share that read the tables beside system.json, whose columns `estimate.columns` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from anarchy.claims.deciding import LAUNCHES, at_least_three
from anarchy.claims.model import INCONCLUSIVE, NOT_TESTABLE, Outcome, Part, System, system_title
from anarchy.config import KNEE_WORKLOAD
from anarchy.stats.intervals import Kind
from anarchy.tables import is_missing, whole

Row = Mapping[Any, Any]
WITHIN_RUN: Final[Kind] = "within-run"
"""An interval over windows alone: launches are too few, or one of them holds nearly all windows."""


def frame_of(system: System, name: str, workload: str) -> pd.DataFrame | None:
    """The rows of a workload in a table beside system.json; None where there are none."""
    frame = (system.get("frames") or {}).get(name)
    if frame is None or "workload" not in frame:
        return None
    mine: pd.DataFrame = frame[frame["workload"] == workload]
    return None if mine.empty else mine


def nothing(system: System, quantity: str, reason: str, decides: str = "") -> list[Part]:
    """The one answer where there is no value, and what would give one."""
    return [Part(system_title(system), INCONCLUSIVE, reason, quantity, decides=decides)]


def past_no_knee(system: System, workload: str, quantity: str) -> list[Part]:
    """What to say of a workload under which no knee is known; empty where one is."""
    if workload == KNEE_WORKLOAD:
        return []
    reason = "no knee is known under this workload: prompts repeat, and prefill hardly saturates, so that no "
    return nothing(
        system,
        quantity,
        f"{reason}load is known to be past it",
        f"the workload {KNEE_WORKLOAD}, whose knee is known, would decide",
    )


def of_launches(row: Row, outcome: Outcome, why: str) -> tuple[Outcome, str, str]:
    """An outcome, left open where its interval is not over three launches: one does not tell their spread.

    Beside it the reason, and what would decide where the launches alone leave it open.
    """
    if outcome in (INCONCLUSIVE, NOT_TESTABLE):
        return outcome, why, ""
    few = f"{whole(row['n_launches'])} launch(es)"
    if row["n_launches"] < LAUNCHES:
        return INCONCLUSIVE, f"{why}, within {few}, which say nothing of others", at_least_three()[1]
    if row.get("interval_kind") == WITHIN_RUN:
        why = f"{why}, within {few} of which one is nearly alone, which say nothing of others"
        return INCONCLUSIVE, why, "launches of like length would decide, if the interval stays as it is"
    return outcome, why, ""


def bounded(row: Row, name: str) -> list[float | None]:
    """A value of a row and the two ends of its interval; None for what is not known."""
    values = (row[f"{name}{end}"] for end in ("", "_lo", "_hi"))
    return [None if is_missing(value) else float(value) for value in values]
