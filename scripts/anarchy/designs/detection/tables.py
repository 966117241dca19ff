"""Tables of policies in stages, and of what detectors made of them."""

from __future__ import annotations

from typing import Final

import pandas as pd

from anarchy.designs.tables import Maker
from anarchy.ground.words import MISSING, counted, number, whole
from anarchy.tables import System
from anarchy.tables.conditions import POLICY, head, stage_table, stage_words


def detection_table(system: System) -> pd.DataFrame:
    """One row a staged cell and controller log: when the load crossed the knee and when the detector fired.

    Times are model seconds, thresholds and baseline ms.
    """
    rows = system.frames["detection"]
    table = rows[["workload", *POLICY, "launch", "source", "acts", "knee"]].copy()
    for name in ("baseline", "theta1", "theta2"):
        table[f"{name}_ms"] = rows[f"{name}_s"] * 1e3
    later = list(rows.columns[rows.columns.get_loc("crossed_stage") :])
    table[["period_s", *later]] = rows[["period_s", *later]]
    return table.reset_index(drop=True)


def detection_words(table: pd.DataFrame) -> pd.DataFrame:
    """`detection_table` for people."""
    words = head(table)
    words["launch"] = list(map(whole, table["launch"]))
    words["source"] = [
        f"{source}, sets the policy" if acts else str(source)
        for source, acts in zip(table["source"], table["acts"], strict=True)
    ]
    words["theta1, theta2, ms"] = [
        f"{number(low)}, {number(high)}"
        for low, high in zip(table["theta1_ms"], table["theta2_ms"], strict=True)
    ]
    words["knee crossed at, s"] = list(map(number, table["crossed_s"]))
    words["fired after, s"] = [
        number(delay) if fired else "never"
        for delay, fired in zip(table["delay_s"], table["fired"], strict=True)
    ]
    words["of it until TTFT showed it"] = list(map(number, table["system_delay_s"]))
    words["and the detector took"] = list(map(number, table["detector_delay_s"]))
    words["to"] = [str(regime) or MISSING for regime in table["fired_to"]]
    words["false alarms"] = list(map(whole, table["false_alarms"]))
    words["back below after, s"] = list(map(number, table["release_delay_s"]))
    words["polls (missing)"] = [
        f"{whole(polls)} ({whole(missing)})"
        for polls, missing in zip(table["polls"], table["polls_missing"], strict=True)
    ]
    words["counted"] = counted(table)
    return pd.DataFrame(words)


TABLES: Final[dict[str, Maker]] = {
    "": (stage_table, stage_words),
    "detection": (detection_table, detection_words),
}
"""Name of a table -> what makes it, and what puts it in words."""
