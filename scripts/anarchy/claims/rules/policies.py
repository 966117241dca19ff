"""Rules for claims on routing policies (E3): claim, system and workload -> a verdict a way to route.

They read the tables beside system.json: `ratios`, `stages`, `series` and `detection`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import pandas as pd

from anarchy.claims.deciding import LAUNCHES, needed
from anarchy.claims.frames import Row, bounded, frame_of, nothing, of_launches, past_no_knee
from anarchy.claims.model import (
    INCONCLUSIVE,
    Claim,
    Part,
    PublishedRatio,
    System,
    against_range,
    ends_of,
    system_title,
)
from anarchy.designs.stages.switched import DIFFER, compared
from anarchy.stats.deciding import cv_bounds
from anarchy.stats.student import mean_over_launches
from anarchy.tables import TITLES, is_missing, whole

NOTES: Final = {
    "adaptive_gain": "both sides in the stage of the most load; how deep the paper's saturated phase is, is "
    "not known to us",
    "switch_gain": "median TTFT of the seconds of the stage of most load before the first switch over that "
    "of those after it; how the paper compares is not known to us",
    "launch_spread": "a CV of 18 % over 3 runs is itself known to be between 9.4 and 113 % (chi-squared, "
    "ours), and that is the range it is held against",
}
"""What has to be known with every verdict of a rule, whichever it is."""

SWITCHING: Final = "a load at which the controller switches would decide"

Asked = Callable[[Claim, System, str], Sequence[Part]]


def adaptive_gain(claim: Claim, system: System, workload: str) -> list[Part]:
    """C8, C9: static over adaptive in the stage of most load, of each published quantity."""
    if untold := past_no_knee(system, workload, "static over adaptive"):
        return untold
    ratios = frame_of(system, "ratios", workload)
    if ratios is None:
        return nothing(system, "static over adaptive", "no ratio was estimated")
    rows = ratios[ratios["against_reference"].astype(bool)]
    rows = rows[rows["policy"].isin(_papers(system, workload, rows))]
    rows = _fullest(rows)
    stages = frame_of(system, "stages", workload)
    rows = rows.assign(policies=DIFFER if stages is None else compared(rows, stages))
    parts = [
        _gain_part(claim, system, row, published)
        for published in claim.published.ratios
        for row in rows[rows["quantity"] == published.quantity].to_dict("records")
    ]
    return parts or nothing(system, "static over adaptive", "no ratio to the static default was estimated")


def _fullest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the stage of most load; of several with that C the last: by then a controller has had time."""
    most: pd.DataFrame = rows[rows["concurrency"] == rows["concurrency"].max()]
    last: pd.DataFrame = most[most["stage_index"] == most["stage_index"].max()]
    return last


def _papers(system: System, workload: str, rows: pd.DataFrame) -> list[str]:
    """The adaptive policies whose controller reads Prometheus, as the paper's does; all where none does."""
    logs = frame_of(system, "detection", workload)
    names = list(dict.fromkeys(rows["policy"].astype(str)))
    if logs is None:
        return names
    acting = logs[logs["acts"].astype(bool) & (logs["source"] == "prometheus")]
    return [name for name in names if name in set(acting["policy"])] or names


def _gain_part(claim: Claim, system: System, row: Row, published: PublishedRatio) -> Part:
    title = TITLES[row["quantity"]]
    quantity = f"{title}, {row['against']} over {row['policy']}"
    held = ends_of(claim, published.value)
    way, where = str(row["way"]), f"{title} in {row['stage']}, C = {whole(row['concurrency'])}"
    if row["policies"] != DIFFER:
        reason = f"{where}: {row['policies']}"
        return Part(
            system_title(system),
            INCONCLUSIVE,
            reason,
            quantity,
            way=way,
            decides=SWITCHING,
            published=held,
        )
    told = bounded(row, "ratio")
    if published.tolerance is not None:
        claim = claim.model_copy(update={"tolerance": published.tolerance})
    outcome, why, decides = of_launches(row, *against_range(claim, told[1], told[2], published.value))
    return Part(
        system_title(system),
        outcome,
        f"{where}: {why}",
        quantity,
        *told,
        way=way,
        decides=decides,
        published=held,
    )


def switch_gain(claim: Claim, system: System, workload: str) -> list[Part]:
    """C10: median TTFT before the switch over that after it, in the stage of most load."""
    logs, series = frame_of(system, "detection", workload), frame_of(system, "series", workload)
    quantity = "median TTFT before the switch over after it"
    if untold := past_no_knee(system, workload, quantity):
        return untold
    if logs is None or series is None:
        return nothing(system, quantity, "no controller's log was estimated")
    acting = logs[logs["acts"].astype(bool) & logs["valid"].astype(bool)]
    acting = acting[acting["policy"].isin(_papers(system, workload, acting))]
    parts = []
    for (policy, way), mine in acting.groupby(["policy", "way"], sort=False):
        gains = [_gain(series, log) for log in mine.to_dict("records")]
        told = [gain for gain in gains if gain is not None]
        if not told:
            reason = f"{policy} did not switch inside the stage of most load"
            parts.append(
                Part(
                    system_title(system),
                    INCONCLUSIVE,
                    reason,
                    quantity,
                    way=str(way),
                    decides=SWITCHING,
                    published=ends_of(claim),
                )
            )
            continue
        value, *ends = mean_over_launches(told, ratio=True)
        lo, hi = (None if is_missing(end) else end for end in ends)
        outcome, why = against_range(claim, lo, hi)
        reason = f"{policy}, {len(told)} of {len(mine)} launches: {why}"
        parts.append(
            Part(
                system_title(system),
                outcome,
                reason,
                quantity,
                value,
                lo,
                hi,
                way=str(way),
                published=ends_of(claim),
            )
        )
    return parts or nothing(system, quantity, "no controller acted in a cell that counts")


def _gain(series: pd.DataFrame, log: Row) -> float | None:
    """Median over seconds of median TTFT, before over after the first switch in the stage of most load."""
    rows = series[(series["launch"] == log["launch"]) & (series["routing_set"] == log["routing_set"])]
    rows = rows[(rows["policy"] == log["policy"]) & (rows["concurrency"] == rows["concurrency"].max())]
    if is_missing(log["fired_s"]):
        return None
    before, after = rows[rows["t"] + rows["seconds"] <= log["fired_s"]], rows[rows["t"] >= log["fired_s"]]
    medians = before["ttft_p50"].median(), after["ttft_p50"].median()
    return None if any(map(is_missing, map(float, medians))) else float(medians[0] / medians[1])


def launch_spread(claim: Claim, system: System, workload: str) -> list[Part]:
    """C11: CV of the static PoA-hat from launch to launch in the stage of most load."""
    stages = frame_of(system, "stages", workload)
    quantity = "CV of the static PoA-hat over launches"
    if untold := past_no_knee(system, workload, quantity):
        return untold
    if stages is None:
        return nothing(system, quantity, "no stage was estimated")
    rows = _fullest(stages[stages["reference"].astype(bool)])
    parts = [_spread_part(claim, system, row, quantity) for row in rows.to_dict("records")]
    return parts or nothing(system, quantity, "no stage of the static default was estimated")


def _spread_part(claim: Claim, system: System, row: Row, quantity: str) -> Part:
    """A CV over launches with its interval, and what would decide it."""
    told, launches = bounded(row, "poa_hat_cv"), int(row["n_launches"])
    outcome, why = against_range(claim, told[1], told[2])
    reason = f"{row['stage']}, C = {whole(row['concurrency'])}, {launches} launches: {why}"
    if told[0] is None:
        few = f"{launches} launch{'es' if launches != 1 else ''}"
        why = f": {row['reasons']}" if row["reasons"] else ""
        reason = f"{few}, and a CV over launches needs three with a PoA-hat{why}"
    count, needs = None, ""
    if outcome == INCONCLUSIVE:
        known = told[0] is not None and launches >= LAUNCHES
        count, needs = needed(cv_bounds(told[0]) if known and told[0] else None, claim, launches)
    return Part(
        system_title(system),
        outcome,
        reason,
        quantity,
        *told,
        way=str(row["way"]),
        launches_to_decide=count,
        decides=needs,
        published=ends_of(claim),
    )


RULES: Final[dict[str, Asked]] = {
    "adaptive_gain": adaptive_gain,
    "switch_gain": switch_gain,
    "launch_spread": launch_spread,
}
