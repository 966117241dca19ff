"""Staged cells: one routing game a stage, and its estimates by policy and stage.

A stage counts the requests sent in its measured part and no others; the load is that of all requests, as in a
constant cell. The latency curves of a launch are fitted to the stages of the reference policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from anarchy.config import StagePlan, Workload
from anarchy.config.loads import times_of
from anarchy.control.detector import PARAMETERS
from anarchy.estimate import columns
from anarchy.estimate.conditions import (
    Condition,
    CostModel,
    Estimate,
    Method,
    Part,
    cost_model,
    estimate_condition,
)
from anarchy.estimate.curvature import branches, curvature, largest
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.detection import detection_tables
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import (
    Found,
    describe_model,
    describe_routing,
    engine_row,
    grouped,
    launch_rows,
    model_notes,
    policy_row,
)
from anarchy.estimate.performance import bounded
from anarchy.estimate.ratios import ratio_rows
from anarchy.estimate.rise import rise
from anarchy.estimate.series import series_rows
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]

UNMEASURED: Final = "nothing was measured in this stage"


@dataclass(frozen=True, eq=False)
class PolicyStages:
    """One policy of a set under one workload: its cells, one a launch, and the estimates of its stages."""

    cells: Sequence[MeasuredCell]
    estimates: Sequence[Estimate]

    @property
    def head(self) -> MeasuredCell:
        """A cell that speaks for all of them."""
        return self.cells[0]


def stage_trace(trace: CellTrace, index: int) -> CellTrace:
    """A staged trace as the trace of one stage's constant cell.

    All rows stay, for they are load. The measured requests of other stages become `warmup` or `cooldown`.
    """
    span = trace.manifest.stages[index]
    sent = trace.column("t_sent")
    mine = trace.equals("phase", "measure") & (sent >= span.settled_s) & (sent < span.end_s)
    phase = np.where(mine, "measure", np.where(sent < span.settled_s, "warmup", "cooldown"))
    place = trace.table.column_names.index("phase")
    table = trace.table.set_column(place, "phase", pa.array(phase, pa.string()))
    manifest = trace.manifest.model_copy(update={"concurrency": span.concurrency})
    return CellTrace(trace.directory, manifest, table)


def stage_conditions(cells: Sequence[MeasuredCell]) -> list[Condition]:
    """The stages of one policy's cells, one cell a launch, in the order of time."""
    absent = {cell.launch: cell.reason for cell in cells if not cell.valid}
    traces = {cell.launch: cell.trace for cell in cells if cell.valid and cell.trace is not None}
    conditions = []
    for index, stage in enumerate(cells[0].stages):
        parts, without = {}, dict(absent)
        for launch, trace in traces.items():
            part = Part(stage_trace(trace, index)) if index < len(trace.manifest.stages) else None
            if part is None or not part.trace.measured.any():
                without[launch] = UNMEASURED
            else:
                parts[launch] = part
        conditions.append(Condition(stage.concurrency, parts, without))
    return conditions


def estimate_stages(
    cells: Sequence[MeasuredCell],
    planned: Sequence[StagePlan],
    method: Method,
    head: Row,
    *,
    watched: Sequence[str] = (),
) -> Found:
    """Every table and fact of a system measured in stages; `head` labels all rows.

    `watched`: sources of the controllers that only watched every cell.
    """
    tables: dict[str, list[Row]] = {name: [] for name in ("stages", "launches", "ratios", "series", "curves")}
    workloads: Row = {}
    stream = 0
    for workload, mine in grouped(cells, lambda cell: cell.workload.name).items():
        label = {**head, **_workload_label(mine[0].workload)}
        facts: Row = {"title": mine[0].workload.title, "curves": {}, "notes": [], "curvature": {}, "rise": {}}
        policies: list[PolicyStages] = []
        labels: dict[str, Row] = {}
        for routing, of_set in grouped(mine, lambda cell: cell.routing).items():
            labels[routing] = {**label, **engine_row(of_set)}
            by_policy = grouped(of_set, lambda cell: cell.policy.name)
            conditions = {name: stage_conditions(its) for name, its in by_policy.items()}
            reference = next(name for name, its in by_policy.items() if its[0].reference)
            model = cost_model(conditions[reference], method)
            facts["curves"][routing] = describe_model(model)
            facts["notes"] += model_notes(routing, model)
            tables["curves"] += _curve_rows(workload, routing, model)
            for name, its in by_policy.items():
                estimates = []
                for condition in conditions[name]:
                    estimates.append(estimate_condition(condition, model, method, stream))
                    stream += 1
                policies.append(PolicyStages(its, estimates))
        for one in policies:
            of_rows = labels[one.head.routing]
            found, peak = _stage_rows(one, method, of_rows)
            tables["stages"] += found
            facts["curvature"].setdefault(one.head.routing, {})[one.head.policy.name] = peak
            facts["rise"].setdefault(one.head.routing, {})[one.head.policy.name] = _rise(one)
            tables["launches"] += [
                row
                for stage, estimate in zip(one.head.stages, one.estimates, strict=True)
                for row in launch_rows(
                    {**of_rows, **policy_row(one.head), "condition": stage.name, "repeat": one.head.repeat},
                    stage.concurrency,
                    estimate,
                )
            ]
            tables["series"] += [
                {**of_rows, **policy_row(cell), **row} for cell in one.cells for row in series_rows(cell)
            ]
        tables["ratios"] += [{**label, **row} for row in ratio_rows(policies)]
        workloads[workload] = facts
    detected = detection_tables(cells, method.knee, head, watched)
    return Found(
        {
            "stages": frame(tables["stages"], columns.STAGES),
            "launches": frame(tables["launches"], columns.LAUNCHES),
            "ratios": frame(tables["ratios"], columns.RATIOS),
            "series": frame(tables["series"], columns.SERIES),
            **detected,
            "curves": frame(tables["curves"], columns.CURVES),
        },
        {
            "stages": _describe_stages(cells, planned, method.knee),
            "routing": describe_routing(cells),
            "workloads": workloads,
            "controllers": {
                regime.word: {"tau": set_.tau, "omega": set_.omega} for regime, set_ in PARAMETERS.items()
            },
        },
    )


def _workload_label(workload: Workload) -> Row:
    return {"workload": workload.name, "workload_title": workload.title}


def _curve_rows(workload: str, routing: str, model: CostModel) -> list[Row]:
    return [{"workload": workload, "routing_set": routing, **point} for point in model.points]


def _describe_stages(
    cells: Sequence[MeasuredCell], planned: Sequence[StagePlan], knee: int | None
) -> list[Row]:
    stages = cells[0].stages
    ways = branches([stage.concurrency for stage in stages])
    return [
        {
            "name": stage.name,
            "concurrency": stage.concurrency,
            "knee_times": times_of(plan, stage.concurrency, knee),
            "direction": way,
            "settle_s": stage.settle_s,
            "seconds": stage.seconds,
            **dict(zip(("start_s", "settled_s", "end_s"), times, strict=True)),
        }
        for stage, plan, way, times in zip(stages, planned, ways, _times(cells), strict=True)
    ]


def _times(cells: Sequence[MeasuredCell]) -> list[list[float]]:
    """When each stage began, had settled and ended, s: medians of the cells; as planned without any."""
    stages = cells[0].stages
    lasted = np.cumsum([part for stage in stages for part in (stage.settle_s, stage.seconds)])
    planned = np.concatenate([[0.0], lasted])
    found = [
        [(span.start_s, span.settled_s, span.end_s) for span in cell.trace.manifest.stages]
        for cell in cells
        if cell.trace is not None and len(cell.trace.manifest.stages) == len(stages)
    ]
    as_planned = [planned[2 * index : 2 * index + 3].tolist() for index in range(len(stages))]
    return np.median(found, axis=0).tolist() if found else as_planned


def _rise(one: PolicyStages) -> Row | None:
    """From the first stage of the smallest C to the first of the largest."""
    C = [stage.concurrency for stage in one.head.stages]
    low, high = C.index(min(C)), C.index(max(C))
    found = rise(one.estimates[low], one.estimates[high])
    return found and {"from": one.head.stages[low].name, "to": one.head.stages[high].name, **found}


def _stage_rows(one: PolicyStages, method: Method, label: Row) -> tuple[list[Row], Row | None]:
    """Rows of stages.parquet of one policy, and where the curvature of its mean latency is largest."""
    stages = one.head.stages
    C = [stage.concurrency for stage in stages]
    ways = branches(C)
    bends = curvature(C, [estimate.draws["ttft_mean"] for estimate in one.estimates])
    rows = []
    for index, (stage, estimate) in enumerate(zip(stages, one.estimates, strict=True)):
        place = {
            "stage": stage.name,
            "stage_index": index,
            "direction": ways[index],
            "concurrency": stage.concurrency,
            "knee_times": stage.concurrency / method.knee if method.knee else float("nan"),
        }
        rows.append(
            {**label, **policy_row(one.head), **place, **estimate.row, **bounded("curvature", bends[index])}
        )
    return rows, largest(C, bends)
