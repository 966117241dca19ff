"""A ladder: cells over a grid of C, estimated together, and the knee that they bend at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from anarchy.designs.ladder.arrivals import arrival_rows
from anarchy.designs.ladder.columns import ARRIVALS, CELLS
from anarchy.designs.ladder.tier import LadderTier
from anarchy.estimate.columns import LADDER_CURVES
from anarchy.estimate.conditions import Method, reasons_of
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.game import cell_game
from anarchy.estimate.grouping import Found, grouped
from anarchy.estimate.ladder import (
    Ladder,
    curve_points,
    estimate_ladder,
    plateau_cells,
    summarise,
)
from anarchy.estimate.performance import ladder_growth, performance
from anarchy.estimate.step import step_of, stream_of
from anarchy.ground.errors import UserError
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]


def estimate(cells: Sequence[MeasuredCell], tier: LadderTier, method: Method, head: Row) -> Found:  # noqa: ARG001
    """Every table and fact of a system that one policy was measured on over a grid of C.

    Raises UserError for several policies.
    """
    policies = list(dict.fromkeys(cell.policy.name for cell in cells))
    if len(policies) > 1:
        raise UserError(
            f"a grid of C under several policies ({', '.join(policies)}) is no ladder",
            where=f"experiment {head['experiment']}",
            remedy="choose a design with loads or stages, or a tier with one policy",
        )
    (policy,) = policies
    rows: list[Row] = []
    points: list[Row] = []
    arrivals: list[Row] = []
    workloads: Row = {}
    for workload, group in grouped(cells, lambda cell: cell.workload.name).items():
        label = {**head, "policy": policy, "workload": workload, "workload_title": group[0].workload.title}
        found, of_curves, facts = _of_workload(group, method)
        arrivals += [{"workload": workload, **row} for row in arrival_rows(found, _valid(group))]
        rows += [{**label, **row} for row in found]
        points += [{"workload": workload, **point} for point in of_curves]
        workloads[workload] = {"title": group[0].workload.title, **facts}
    table = pd.DataFrame(rows).sort_values(["workload", "concurrency"], ignore_index=True)
    return Found(
        # A system of which no cell is valid has no estimate of any kind, and still every column.
        {
            "cells": table.reindex(columns=CELLS.names),
            "curves": frame(points, LADDER_CURVES),
            "arrivals": frame(arrivals, ARRIVALS),
        },
        {"policy": policy, "workloads": workloads},
    )


def _of_workload(cells: Sequence[MeasuredCell], method: Method) -> tuple[list[Row], list[Row], Row]:
    """Rows of the cells, points of the curves, and what holds for one workload."""
    valid = _valid(cells)
    ladder = Ladder(
        n_workers=method.n_workers,
        cells={C: [cell_game(trace) for trace in traces] for C, traces in valid.items()},
        c_ref=method.c_ref,
        replicates=method.replicates,
        seed=method.seed,
        processes=method.processes,
    )
    found = estimate_ladder(ladder)
    streams = {C: {t.manifest.launch: stream_of(t) for t in traces} for C, traces in valid.items()}
    planned = grouped(cells, lambda cell: cell.concurrency)
    for stream, row in enumerate(found.rows):
        traces = valid[row["concurrency"]]
        counted = [t for t in traces if t.manifest.launch in found.curves]
        # Without any curve there is no PoA-hat, and what users felt is known all the same.
        row.update(performance(counted or traces, method.seed, stream))
        row.update(step_of(streams, row["concurrency"]))
        absent = {cell.launch: cell.reason for cell in planned[row["concurrency"]] if not cell.valid}
        counting = [trace.manifest.launch for trace in traces]
        row["reasons"] = reasons_of(counting, absent, found.without_curves)
    grown = ladder_growth(plateau_cells(found.rows), valid, ladder.c_ref, ladder.seed)
    facts = {**summarise(found, ladder.c_ref), "growth": grown}
    return [*found.rows, *_uncounted(cells, valid)], curve_points(ladder), facts


def _valid(cells: Sequence[MeasuredCell]) -> dict[int, list[CellTrace]]:
    """Traces that count, by concurrency."""
    counting = [cell for cell in cells if cell.valid]
    return {
        C: [cell.trace for cell in group if cell.trace is not None]
        for C, group in grouped(counting, lambda cell: cell.concurrency).items()
    }


def _uncounted(cells: Sequence[MeasuredCell], valid: Mapping[int, Sequence[CellTrace]]) -> list[Row]:
    """Rows without numbers for the concurrencies of which no launch is valid, with the reasons."""
    reasons: dict[int, list[str]] = {}
    for cell in cells:
        if cell.concurrency not in valid:
            reasons.setdefault(cell.concurrency, []).extend(cell.reason.split(", "))
    return [
        {"concurrency": C, "valid": False, "reasons": ", ".join(dict.fromkeys(names)), "n_launches": 0}
        for C, names in reasons.items()
    ]
