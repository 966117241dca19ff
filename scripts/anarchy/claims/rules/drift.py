"""C13: one saturated point, measured by two experiments of one system.

E3 and E4 have a load past the knee that lies on E1's grid (`on_grid`), so that both measure the static
default at one C. Both are of the same engine; their intervals are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from anarchy.claims.model import INCONCLUSIVE, NOT_TESTABLE, Claim, Part, System, against_range, system_title
from anarchy.tables import is_missing, whole

QUANTITY: Final = "relative difference of PoA-hat at one saturated C between two experiments"
LAUNCHES: Final = 3

Row = Mapping[Any, Any]


def beside(system: System, systems: Sequence[System]) -> System:
    """A system with what other experiments measured of it on the same engine, under ``beside``."""
    same = ("model", "topology", "engine")
    others = [
        other
        for other in systems
        if other["experiment"] != system["experiment"] and all(other[key] == system[key] for key in same)
    ]
    return {**system, "beside": others}


def experiment_drift(claim: Claim, system: System, workload: str) -> list[Part]:
    """The difference between E1's cell and the static default of a stage at the same C past the knee."""
    title, knee = system_title(system), system.get("knee")
    stages, cells = _rows(system, "stages", workload), _ladder(system, workload)
    if stages is None or cells is None or knee is None:
        return [
            Part(title, NOT_TESTABLE, "two experiments with a knee did not measure this workload", QUANTITY)
        ]
    # E1's router is built in: the same default pinned to workers is another point.
    same = stages["reference"].astype(bool) & (stages["way"] == "builtin")
    stages = stages[same & (stages["concurrency"] > knee)]
    stages = stages[stages["concurrency"].isin(cells["concurrency"])]
    parts = []
    for way, mine in stages.groupby("way", sort=False):
        # The last of the stages at the most load: what the queue has had the longest time to become.
        stage = mine[mine["concurrency"] == mine["concurrency"].max()].iloc[-1].to_dict()
        cell = cells[cells["concurrency"] == stage["concurrency"]].iloc[0].to_dict()
        parts.append(_part(claim, title, str(way), stage, cell))
    shared = "no saturated C was measured by both experiments, E1's grid and this one's loads"
    return parts or [Part(title, NOT_TESTABLE, shared, QUANTITY)]


def _part(claim: Claim, title: str, way: str, stage: Row, cell: Row) -> Part:
    place = f"C = {whole(stage['concurrency'])}, stage {stage['stage']} against E1's cell"
    if not (stage["valid"] and cell["valid"]):
        return Part(title, INCONCLUSIVE, f"{place}: one of them does not count", QUANTITY, way=way)
    drift = drift_of(stage, cell)
    outcome, why = against_range(claim, *drift[1:])
    launches = int(min(stage["n_launches"], cell["n_launches"]))
    if launches < LAUNCHES:
        outcome = INCONCLUSIVE
        why += f", within {launches} launch(es), which say nothing of others"
    return Part(title, outcome, f"{place}: {why}", QUANTITY, *drift, way=way)


def drift_of(first: Row, second: Row) -> tuple[float, float | None, float | None]:
    """How far PoA-hat of two rows differs, as a share of the second, and its 95 % interval."""
    ratio = math.log(first["poa_hat"] / second["poa_hat"])
    ends = [row[f"poa_hat_{end}"] for row in (first, second) for end in ("lo", "hi")]
    share = abs(math.expm1(ratio))
    if any(map(is_missing, ends)) or min(ends) <= 0:
        return share, None, None
    half = math.hypot(math.log(ends[1] / ends[0]), math.log(ends[3] / ends[2])) / 2
    bounds = sorted(abs(math.expm1(ratio + side * half)) for side in (-1, 1))
    return share, 0.0 if abs(ratio) <= half else bounds[0], bounds[1]


def _ladder(system: System, workload: str) -> pd.DataFrame | None:
    """The cells of E1 of the same system."""
    for other in system.get("beside", ()):
        if (cells := _rows(other, "cells", workload)) is not None:
            return cells
    return None


def _rows(system: System, frame: str, workload: str) -> pd.DataFrame | None:
    rows = (system.get("frames") or {}).get(frame)
    if rows is None or "workload" not in rows or rows.empty:
        return None
    mine: pd.DataFrame = rows[rows["workload"] == workload]
    return None if mine.empty else mine


RULES: Final = {"experiment_drift": experiment_drift}
