"""When a saturation controller fired against when the load crossed the knee, from its log and the stages.

Pure over a log's records and the stages of the cell beside it; docs/controller.md says what the records hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Final

import pandas as pd

from anarchy.config import KNEE_WORKLOAD, AdaptivePolicy
from anarchy.control.detector import Regime
from anarchy.estimate import columns
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import engine_row, policy_row
from anarchy.estimate.series import stage_at
from anarchy.trace.control_log import LOG_FILE, LogRecords, clock_offset, read_log
from anarchy.trace.reader import CellTrace, companion
from anarchy.trace.schema import StageSpan

Row = dict[str, Any]

NAN: Final = float("nan")
LOGS: Final = "controller*.jsonl"
"""Logs beside a trace; `controller.jsonl` is the one of the controller that sets the policy."""
RANK: Final = {regime.word: int(regime) for regime in Regime}


@dataclass(frozen=True)
class Crossing:
    """When the load of a staged cell crossed the knee and came back, model s from the cell's start."""

    stage: str
    """Name of the first stage with C above the knee; empty where there is none."""
    concurrency: int
    crossed_s: float
    """Its start; NaN without one."""
    recovered_s: float
    """Start of the first later stage with C at or below the knee; the last stage's end where none follows."""


def detection_tables(
    cells: Sequence[MeasuredCell], knee: int | None, head: Row, watched: Sequence[str] = ()
) -> dict[str, pd.DataFrame]:
    """`detection` and `polls` of every staged cell that had a controller, acting or only watching.

    `watched`: sources that watched each cell. A log that should be there and is not gives a row that says so.
    """
    rows: list[Row] = []
    polls: list[Row] = []
    for cell in cells:
        label = {
            **head,
            **engine_row([cell]),
            "workload": cell.workload.name,
            "workload_title": cell.workload.title,
            **policy_row(cell),
            "launch": cell.launch,
            "cell": cell.name,
        }
        its_knee = knee if cell.workload.name == KNEE_WORKLOAD else None
        for row, its_polls in _cell_rows(cell, its_knee, watched):
            rows.append({**label, **row})
            polls += [{**label, **{k: row[k] for k in ("log", "source", "acts")}, **one} for one in its_polls]
    return {
        "detection": frame(rows, columns.DETECTION),
        "polls": frame(polls, columns.POLLS),
    }


def _cell_rows(cell: MeasuredCell, knee: int | None, watched: Sequence[str]) -> list[tuple[Row, list[Row]]]:
    """Each log of a cell with its row and its polls; rows without numbers for logs that are not there."""
    found = []
    expected = {(source, False) for source in watched}
    if isinstance(cell.policy, AdaptivePolicy):
        expected.add((cell.policy.controller.source, True))
    if cell.trace is not None:
        for name in sorted(name for name in cell.trace.manifest.companions if fnmatch(name, LOGS)):
            log = read_log(companion(cell.trace, name) or cell.trace.directory / name)
            acts = name == LOG_FILE and isinstance(cell.policy, AdaptivePolicy)
            row = log_row(log, cell.trace, knee)
            row |= {"log": name, "acts": acts}
            if not cell.valid:
                row |= {"valid": False, "reasons": ", ".join(filter(None, (cell.reason, row["reasons"])))}
            expected.discard((row["source"], acts))
            found.append((row, poll_rows(log, cell.trace)))
    for source, acts in sorted(expected):
        why = f"no log of this controller: {cell.reason}" if cell.reason else "no log of this controller"
        empty = {"log": "", "source": source, "acts": acts, "valid": False, "reasons": why}
        found.append((empty, []))
    return found


def crossing(stages: Sequence[StageSpan], knee: int | None) -> Crossing:
    """When the load crossed the knee upwards, and when it was back; NaN where it never did."""
    end = stages[-1].end_s if stages else NAN
    above = next((index for index, s in enumerate(stages) if knee is not None and s.concurrency > knee), None)
    if above is None or knee is None:
        return Crossing("", 0, NAN, NAN)
    back = next((s.start_s for s in stages[above + 1 :] if s.concurrency <= knee), end)
    first = stages[above]
    return Crossing(first.name, first.concurrency, first.start_s, back)


def log_row(log: LogRecords, trace: CellTrace, knee: int | None) -> Row:
    """One log's row of detection.parquet, without labels."""
    start = next(iter(log.of("start")), None)
    crossed = crossing(trace.manifest.stages, knee)
    row: Row = {
        "source": str(start["source"]) if start else "",
        "knee": knee if knee is not None else NAN,
        "crossed_stage": crossed.stage,
        "crossed_concurrency": crossed.concurrency or NAN,
        "crossed_s": crossed.crossed_s,
        "recovered_s": crossed.recovered_s,
        "unreadable": len(log.unreadable),
    }
    if start is None:
        return {**row, "valid": False, "reasons": "the log has no start"}
    offset = clock_offset(start, trace)
    period = float(start["period_s"])
    theta1, theta2, baseline = thresholds(log)
    polls = log.of("poll")
    row |= {"period_s": period, "baseline_s": baseline, "theta1_s": theta1, "theta2_s": theta2}
    row |= {
        "polls": len(polls),
        "polls_missing": sum(poll["p99"] is None for poll in polls),
        "polls_skipped": sum(int(poll["skipped"]) for poll in polls),
    }
    row |= _switches(log, crossed, offset, period)
    if knee is None:  # nobody knows which switches came before the load crossed it
        row["false_alarms"] = NAN
    shown = [
        poll["window"][1] + offset
        for poll in polls
        if poll["p99"] is not None and poll["p99"] > theta1 and poll["window"][1] + offset > crossed.crossed_s
    ]
    row["ttft_crossed_s"] = shown[0] if shown else NAN
    row["system_delay_s"] = row["ttft_crossed_s"] - crossed.crossed_s
    row["detector_delay_s"] = row["fired_s"] - row["ttft_crossed_s"]
    reasons = _reasons(log, crossed, theta1)
    return {**row, "valid": True, "reasons": ", ".join(reasons)}


def _switches(log: LogRecords, crossed: Crossing, offset: float, period: float) -> Row:
    """What the switches of a log say about one crossing."""
    switches = [(s["t"] + offset, RANK[s["from"]], RANK[s["to"]]) for s in log.of("switch")]
    up = [(t, to) for t, before, to in switches if to > before]
    known = not math.isnan(crossed.crossed_s)
    before = [t for t, _ in up if not known or t < crossed.crossed_s]
    during = [(t, to) for t, to in up if known and crossed.crossed_s <= t < crossed.recovered_s]
    down = [t for t, _, to in switches if known and to == Regime.BELOW and t >= crossed.recovered_s]
    saturated = [t for t, to in up if known and to == Regime.SATURATED and t >= crossed.crossed_s]
    fired_s, fired_to = during[0] if during else (NAN, None)
    at_crossing = [to for t, _, to in switches if known and t < crossed.crossed_s]
    return {
        "regime_crossed": Regime(at_crossing[-1] if at_crossing else 0).word if known else "",
        "fired": bool(during),
        "fired_s": fired_s,
        "fired_to": "" if fired_to is None else Regime(fired_to).word,
        "delay_s": fired_s - crossed.crossed_s,
        "delay_polls": (fired_s - crossed.crossed_s) / period,
        "saturated_s": saturated[0] if saturated else NAN,
        "false_alarms": len(before),
        "released_s": down[0] if down else NAN,
        "release_delay_s": (down[0] if down else NAN) - crossed.recovered_s,
        "late_alarms": sum(known and t >= crossed.recovered_s for t, _ in up),
        "switches": len(switches),
    }


def _reasons(log: LogRecords, crossed: Crossing, theta1: float) -> list[str]:
    """What a reader of one log's row has to know."""
    notes = []
    if not crossed.stage:
        notes.append("no stage lies above the knee")
    if math.isnan(theta1):
        notes.append("the baseline was never measured, so nothing could fire")
    end = next(iter(log.of("end")), None)
    if end is None:
        notes.append("the log has no end")
    elif end["reason"] not in ("stopped", "polls"):
        notes.append(f"the controller ended early: {end['reason']}")
    return notes


def thresholds(log: LogRecords) -> tuple[float, float, float]:
    """theta1, theta2 and the baseline of a log, s; NaN for what was never known."""
    measured = next(iter(log.of("baseline")), None)
    if measured is not None:
        return float(measured["theta1"]), float(measured["theta2"]), float(measured["p99"])
    detector = log.of("start")[0]["detector"] if log.of("start") else {}
    theta1, theta2 = detector.get("theta1"), detector.get("theta2")
    return (NAN if theta1 is None else float(theta1), NAN if theta2 is None else float(theta2), NAN)


def poll_rows(log: LogRecords, trace: CellTrace) -> list[Row]:
    """One row a poll, without labels; none of a log that has no start."""
    start = next(iter(log.of("start")), None)
    if start is None:
        return []
    offset = clock_offset(start, trace)
    theta1, theta2, _ = thresholds(log)
    switched = {switch["t"]: switch["from"] for switch in log.of("switch")}
    rows = []
    for poll in log.of("poll"):
        end = float(poll["window"][1])
        stage = stage_at(trace.manifest.stages, end + offset)
        lo, hi = poll["bracket"] or (NAN, NAN)
        watching = poll["verdict"] != "baseline"
        rows.append(
            {
                "t": end + offset,
                "stage": stage.name if stage else "",
                "requests": _or_nan(poll["requests"]),
                "p99": _or_nan(poll["p99"]),
                "p99_lo": _or_nan(lo),
                "p99_hi": math.inf if poll["bracket"] and hi is None else _or_nan(hi),
                "ewma": _or_nan(poll["ewma"]),
                "theta1": theta1 if watching else NAN,
                "theta2": theta2 if watching else NAN,
                "regime": poll["regime"],
                "verdict": poll["verdict"],
                "reason": poll["reason"],
                "switch_from": switched.get(end, "") if poll["verdict"] == "switch" else "",
                "late_s": poll["late_s"],
                "skipped": poll["skipped"],
            }
        )
    return rows


def _or_nan(value: float | None) -> float:
    return NAN if value is None else float(value)
