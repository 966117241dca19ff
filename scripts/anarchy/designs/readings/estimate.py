"""Ladders of every workload and policy, each estimated under every reading of PoA-hat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from anarchy.designs.readings.columns import CELLS, DEPTHS, LADDERS, READ
from anarchy.designs.readings.depths import depth_rows, setting_row
from anarchy.designs.readings.tier import ReadingsTier
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.game import CellGame, cell_game
from anarchy.estimate.grouping import Found, describe_routing, engine_row, grouped, policy_row
from anarchy.estimate.ladder import (
    Ladder,
    LadderEstimate,
    estimate_ladder,
    geometric_mean,
    plateau_cells,
    summarise,
    value_and_interval,
)
from anarchy.estimate.performance import (
    QUANTILE_REPLICATES,
    bounded,
    ladder_growth,
    performance_draws,
)
from anarchy.estimate.reading import TABLED, estimate_reading, with_reading
from anarchy.estimate.step import step_of, stream_of
from anarchy.games.readings import Reading
from anarchy.stats.bootstrap import bootstrap_mean
from anarchy.stats.intervals import Resampled
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]

FITTED: Final[Reading] = "fitted"
REPLICATES: Final = 2_000
"""Of a ladder, at most: there are four readings of each workload and policy."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What one workload measured under one policy."""

    head: MeasuredCell
    """Any cell of it: workload and policy."""
    traces: Mapping[int, Sequence[CellTrace]]
    """Those that count, by concurrency."""
    absent: Mapping[int, str]
    """Why a concurrency has none."""


def estimate(cells: Sequence[MeasuredCell], tier: ReadingsTier, method: Method, head: Row) -> Found:
    """Every table and fact of a system; `head` labels all rows."""
    method = replace(method, replicates=min(method.replicates, REPLICATES))
    tables: dict[str, list[Row]] = {"cells": [], "readings": [], "ladders": [], "depths": []}
    facts: list[Row] = []
    workloads: Row = {}
    sets = grouped(cells, lambda cell: (cell.workload.name, cell.policy.name))
    # Sets may differ in what their workers may do, so the same policy in two of them is two.
    for (_, workload, _), group in grouped(
        cells, lambda c: (c.routing, c.workload.name, c.policy.name)
    ).items():
        mine = _measured(group)
        title = mine.head.workload.title
        label = {**head, **engine_row(group), "workload": workload, "workload_title": title}
        label |= policy_row(mine.head)
        of_cells = _cell_rows(mine, method)
        tables["cells"] += [{**label, **row} for row in of_cells]
        told = workloads.setdefault(workload, {"title": title, "notes": []})
        setting = setting_row(mine.head)
        for reading in tier.readings:
            found, refused = _read(mine, reading, method)
            named = {**label, "reading": reading}
            tables["readings"] += [{**named, **row} for row in _reading_rows(mine, found, refused)]
            summary = _summary(found, mine, method, title)
            tables["ladders"].append(
                {**named, **_ladder_row(found, summary, of_cells, tier), "refused": refused}
            )
            tables["depths"] += [
                {**named, **setting, **row} for row in depth_rows(found, tier.depths, method.n_workers)
            ]
            which = {name: label[name] for name in ("workload", "routing_set", "policy", "tau")}
            facts.append({**which, "reading": reading, "found": summary})
            if refused:
                told["notes"].append(f"{_name(mine.head, sets)}, reading {reading}: {refused}")
    return Found(
        {
            "cells": frame(tables["cells"], CELLS),
            "readings": frame(tables["readings"], READ),
            "ladders": frame(tables["ladders"], LADDERS),
            "depths": frame(tables["depths"], DEPTHS),
        },
        {
            "routing": describe_routing(cells),
            "level_over": list(tier.level_over),
            "curves": [curve.model_dump() for curve in tier.curves],
            "sampled": tier.sample is not None,
            "ladders": facts,
            "workloads": workloads,
        },
    )


def _name(cell: MeasuredCell, of: Mapping[tuple[str, str], Sequence[MeasuredCell]]) -> str:
    """The policy, with its set where several sets measured it under the workload."""
    sets = {one.routing for one in of[cell.workload.name, cell.policy.name]}
    return cell.policy.name if len(sets) == 1 else f"{cell.routing}, {cell.policy.name}"


def _measured(cells: Sequence[MeasuredCell]) -> Measured:
    """Cells of one workload and policy by concurrency, ascending."""
    traces: dict[int, list[CellTrace]] = {}
    reasons: dict[int, list[str]] = {}
    for cell in sorted(cells, key=lambda one: (one.concurrency, one.launch)):
        if cell.valid and cell.trace is not None:
            traces.setdefault(cell.concurrency, []).append(cell.trace)
        else:
            reasons.setdefault(cell.concurrency, []).append(cell.reason)
    absent = {C: ", ".join(dict.fromkeys(why)) for C, why in reasons.items() if C not in traces}
    return Measured(cells[0], traces, absent)


def _cell_rows(mine: Measured, method: Method) -> list[Row]:
    """A row a concurrency: what users felt, and whether they marched in step."""
    streams = {C: {t.manifest.launch: stream_of(t) for t in traces} for C, traces in mine.traces.items()}
    rows = []
    for stream, (C, traces) in enumerate(mine.traces.items()):
        draws = performance_draws(traces, method.seed, stream) | {
            "ttft_mean": _mean_ttft(traces, method, stream)
        }
        row: Row = {
            "concurrency": C,
            "n_launches": len(traces),
            "n_requests": int(sum(trace.measured.sum() for trace in traces)),
            "interval_kind": draws["ttft_mean"].kind,
            **step_of(streams, C),
            "valid": True,
            "reasons": "",
        }
        for name, drawn in draws.items():
            row |= bounded(name, drawn)
        rows.append(row)
    return [*rows, *(_uncounted(C, why) for C, why in mine.absent.items())]


def _mean_ttft(traces: Sequence[CellTrace], method: Method, stream: int) -> Resampled:
    return bootstrap_mean(
        [trace.ttft for trace in traces],
        replicates=QUANTILE_REPLICATES,
        seed=method.seed,
        stream=stream,
    )


def _uncounted(C: int, why: str) -> Row:
    return {"concurrency": C, "n_launches": 0, "valid": False, "reasons": why}


def _read(mine: Measured, reading: Reading, method: Method) -> tuple[LadderEstimate, str]:
    """The ladder under a reading, and why launches have none; empty where all have."""
    ladder = Ladder(
        n_workers=method.n_workers,
        cells={C: [_game(trace, reading, method) for trace in its] for C, its in mine.traces.items()},
        c_ref=method.c_ref,
        replicates=method.replicates,
        seed=method.seed,
        processes=method.processes,
        reading=reading,
    )
    found = estimate_ladder(ladder) if reading == FITTED else estimate_reading(ladder)
    why: dict[str, list[int]] = {}
    for launch, reason in found.without_curves.items():
        why.setdefault(reason, []).append(launch)
    told = (f"launch {', '.join(map(str, its))}: {reason}" for reason, its in why.items())
    return found, "; ".join(told)


def _game(trace: CellTrace, reading: Reading, method: Method) -> CellGame:
    """A cell's game, with its costs where the reading asks the timing table."""
    game = cell_game(trace)
    return with_reading(game, trace, reading, method.profile, "decode") if reading in TABLED else game


def _reading_rows(mine: Measured, found: LadderEstimate, refused: str) -> list[Row]:
    """PoA-hat of each concurrency; one that the reading could not price lacks a number and says why."""
    rows = [{**row, "valid": bool(np.isfinite(row["poa_hat"])), "reasons": refused} for row in found.rows]
    return [*rows, *(_uncounted(C, why) for C, why in mine.absent.items())]


def _summary(found: LadderEstimate, mine: Measured, method: Method, title: str) -> Row:
    """What stands above the rows, as a ladder of one policy has it."""
    plateau = plateau_cells(found.rows)
    grown = ladder_growth(plateau, mine.traces, method.c_ref, method.seed)
    return {"title": title, **summarise(found, method.c_ref), "growth": grown}


def _ladder_row(found: LadderEstimate, summary: Row, of_cells: Sequence[Row], tier: ReadingsTier) -> Row:
    """Level, plateau, knee, growth and depth of one reading."""
    low, high = tier.level_over
    known = {C: drawn for C, drawn in found.draws.items() if np.isfinite(drawn.value)}
    inside = [drawn for C, drawn in known.items() if low <= C <= high]
    row: Row = {}
    if inside:
        level, draws = geometric_mean(inside)
        row |= _ends("level", *value_and_interval(level, draws))
        deep = known[max(known)]
        row |= _ends("growth", *value_and_interval(deep.value / level, deep.draws / draws))
    deepest, plateau, knee = summary["deepest"], summary["plateau"], summary["knee"]
    if deepest is not None:
        row |= _ends("deepest", deepest["poa_hat"], deepest["lo"], deepest["hi"])
        row["deepest_c"] = deepest["concurrency"]
    if plateau is not None:
        row |= _ends("plateau", plateau["poa_hat"], plateau["lo"], plateau["hi"])
    if knee["exists"]:
        row |= _ends("knee", knee["knee"], knee["lo"], knee["hi"])
        row["slope_before"] = knee["slope_before"]
    counting = [one for one in of_cells if one["valid"]]
    marched = sum(one["in_step"] is True for one in counting)
    return {**row, "in_step_cells": marched, "cells": len(counting)}


def _ends(name: str, value: float, lo: float | None, hi: float | None) -> Row:
    return {name: value, f"{name}_lo": lo, f"{name}_hi": hi}
