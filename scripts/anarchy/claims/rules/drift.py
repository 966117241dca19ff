"""C13: one saturated point, measured by two experiments of one system on one engine.

E3 and E4 have a load past the knee that lies on E1's grid (`on_grid`), so that both measure the static
default at one C. A point measured by two engines is no drift between experiments, so cells of one engine
alone are compared; their intervals are taken as independent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from anarchy.claims.deciding import LAUNCHES, Needed, needed
from anarchy.claims.engines import measured_by
from anarchy.claims.frames import WITHIN_RUN, Row, frame_of, of_launches
from anarchy.claims.model import (
    INCONCLUSIVE,
    NOT_TESTABLE,
    Claim,
    Part,
    System,
    against_range,
    ends_of,
    system_title,
)
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.stats.deciding import Bounds, student_width
from anarchy.tables import is_missing, whole

QUANTITY: Final = "relative difference of PoA-hat at one saturated C between two experiments"
WAY: Final = "builtin"
"""E1's router is built in: the same default pinned to workers is another point."""


def beside(system: System, systems: Sequence[System]) -> System:
    """A system with what other experiments measured of it, on whatever engine, under ``beside``."""
    others = [
        other
        for other in systems
        if other["experiment"] != system["experiment"]
        and all(other[key] == system[key] for key in ("model", "topology"))
    ]
    return {**system, "beside": others}


def experiment_drift(claim: Claim, system: System, workload: str) -> list[Part]:
    """The difference between E1's cell and the static default of E3 or E4 at the same C past the knee."""
    title, engine = system_title(system), measured_by(system, WAY)
    ladders = [other for other in system.get("beside", ()) if other.get("design") == LADDER.name]
    if not ladders:
        return [Part(title, NOT_TESTABLE, "E1 did not measure this system, so no point is shared", QUANTITY)]
    point = _points(system, workload)
    deepest = whole(point["concurrency"].max()) if not point.empty else ""
    same = [ladder for ladder in ladders if measured_by(ladder, WAY) == engine]
    cells = [rows for ladder in same if (rows := frame_of(ladder, "cells", workload)) is not None]
    decides = ""
    if not deepest:
        why = "no load past the knee of this workload was measured under the static default"
    elif not same:
        labels = ", ".join(dict.fromkeys(measured_by(ladder, WAY) for ladder in ladders))
        why = f"E1 was measured by another engine ({labels}) than this experiment ({engine}), and one point "
        why += "by two engines is no drift between experiments"
        decides = f"E1 on this engine too, at C = {deepest}, would decide"
    elif not cells:
        why = "E1 did not measure this workload"
        decides = f"E1 under it too, at C = {deepest}, would decide"
    else:
        point = point[point["concurrency"].isin(cells[0]["concurrency"])]
        if not point.empty:
            return [_part(claim, title, cells[0], point)]
        why, decides = (
            "E1's grid and these loads share no saturated C",
            f"E1 at C = {deepest} too would decide",
        )
    return [Part(title, INCONCLUSIVE, why, QUANTITY, way=WAY, decides=decides)]


def _points(system: System, workload: str) -> pd.DataFrame:
    """Rows of the static default past the knee, as a stage (E3) or a load (E4), each with a `place`."""
    knee = system.get("knee")
    for frame, place in (("stages", "stage"), ("pairs", "load")):
        rows = frame_of(system, frame, workload)
        if rows is not None and knee is not None:
            rows = rows[rows["reference"].astype(bool) & (rows["way"] == WAY) & (rows["concurrency"] > knee)]
            rows = rows[rows["repeat"] == 1] if "repeat" in rows else rows
            placed: pd.DataFrame = rows.assign(place=f"{place} " + rows[place].astype(str))
            return placed
    return pd.DataFrame({"concurrency": []})


def _part(claim: Claim, title: str, cells: pd.DataFrame, points: pd.DataFrame) -> Part:
    """The deepest point that both measured, held against the range."""
    # The last of the stages at the most load: what the queue has had the longest time to become.
    point = points[points["concurrency"] == points["concurrency"].max()].iloc[-1].to_dict()
    cell = cells[cells["concurrency"] == point["concurrency"]].iloc[0].to_dict()
    where = f"C = {whole(point['concurrency'])}, {point['place']} against E1's cell"
    if not (point["valid"] and cell["valid"]):
        return Part(title, INCONCLUSIVE, f"{where}: one of them does not count", QUANTITY, way=WAY)
    drift = drift_of(point, cell)
    outcome, why = against_range(claim, *drift[1:])
    launches = int(min(point["n_launches"], cell["n_launches"]))
    needs: Needed = (None, "")
    if outcome == INCONCLUSIVE:
        needs = needed(_bounds(point, cell, launches), claim, launches)
    for row in sorted((point, cell), key=lambda row: row["n_launches"]):
        outcome, why, decides = of_launches(row, outcome, why)
        needs = (LAUNCHES if launches < LAUNCHES else None, decides) if decides else needs
    return Part(
        title,
        outcome,
        f"{where}: {why}",
        QUANTITY,
        *drift,
        way=WAY,
        launches_to_decide=needs[0],
        decides=needs[1],
        published=ends_of(claim),
    )


def drift_of(first: Row, second: Row, share: float = 1.0) -> tuple[float, float | None, float | None]:
    """How far PoA-hat of two rows differs, as a share of the second, and its 95 % interval.

    `share`: how wide the interval is, as a share of the rows' own.
    """
    ratio = math.log(first["poa_hat"] / second["poa_hat"])
    ends = [row[f"poa_hat_{end}"] for row in (first, second) for end in ("lo", "hi")]
    value = abs(math.expm1(ratio))
    if any(map(is_missing, ends)) or min(ends) <= 0:
        return value, None, None
    half = share * math.hypot(math.log(ends[1] / ends[0]), math.log(ends[3] / ends[2])) / 2
    bounds = sorted(abs(math.expm1(ratio + side * half)) for side in (-1, 1))
    return value, 0.0 if abs(ratio) <= half else bounds[0], bounds[1]


def _bounds(point: Row, cell: Row, now: int) -> Bounds | None:
    """Intervals of the drift by the number of launches of both; None where theirs are not over launches."""
    within = WITHIN_RUN in (point["interval_kind"], cell["interval_kind"])
    if now < LAUNCHES or within or drift_of(point, cell)[1] is None:
        return None

    def bounds(n: int) -> tuple[float, float]:
        _, lo, hi = drift_of(point, cell, student_width(n) / student_width(now))
        assert lo is not None
        assert hi is not None
        return lo, hi

    return bounds


RULES: Final[Mapping[str, Any]] = {"experiment_drift": experiment_drift}
