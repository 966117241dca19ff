"""One system's estimates: read every deployment of a model on a topology, estimate, write them.

What is estimated hangs on the experiment's design: a ladder of C here, stages, or pairs of router parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.config import Tier
from anarchy.designs import CELL_COLUMNS, ByDesign
from anarchy.estimate import pareto, stages
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import (
    ATTEMPT_COLUMNS,
    MeasuredCell,
    attempts,
    describe,
    deviations,
    head_of,
    read_measured,
    read_planned,
    read_summary,
)
from anarchy.estimate.game import cell_game
from anarchy.estimate.grouping import Found
from anarchy.estimate.ladder import (
    REPLICATES,
    Ladder,
    LadderEstimate,
    curve_points,
    estimate_ladder,
    plateau_cells,
    summarise,
)
from anarchy.estimate.performance import growth, performance
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, write_json
from anarchy.plan.knee import PLAN_FILE, read_plan
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.plan.workbench import Workbench
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import Manifest

Row = dict[str, Any]
Measured = tuple[DeploymentPlan, Cell, CellTrace]

CURVE_COLUMNS = ("launch", "concurrency", "reference", "x", "latency", "weight", "n")


@dataclass(frozen=True)
class SystemEstimate:
    """What `anarchy system` writes for one system: `columns.FILES` of its design, by the files' stems."""

    tables: Mapping[str, pd.DataFrame]
    system: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write a Parquet file a table and, last, system.json."""
        make_folder(folder)
        with disk_errors(folder):
            for name, table in self.tables.items():
                table.to_parquet(folder / f"{name}.parquet", index=False)
        write_json(folder / "system.json", self.system)


def estimate_system(
    bench: Workbench,
    experiment: str,
    model: str,
    topology: str,
    *,
    replicates: int = REPLICATES,
    processes: int = 1,
) -> SystemEstimate:
    """Estimate one system from its sealed cells.

    Raises UserError for a deployment that is not complete and for any trace that cannot be trusted.
    """
    deployments = [one for one in bench.deployments if one.key[:3] == (experiment, model, topology)]
    if not deployments:
        raise UserError(
            f"this run holds no system {experiment}/{model}/{topology}",
            where="command line",
            remedy="known: " + ", ".join("/".join(system) for system in bench.systems()),
        )
    plans = [bench.bound(deployment) for deployment in deployments]
    summaries = [read_summary(bench.layout.summary(*plan.key)) for plan in plans]
    seed = plans[0].seed
    estimator = ESTIMATORS[plans[0].experiment.design]
    return estimator(bench, plans, summaries, seed, replicates, processes)


def knee_facts(plan: DeploymentPlan, folder: Path, origin: Mapping[str, Any]) -> Row | None:
    """The knee that loads are multiples of and where it comes from, as sealed before the first cell.

    ``origin`` is what the run says of it, for deployments of before there was such a seal. None where loads
    hang on no knee.
    """
    if not plan.settings.hangs_on_knee:
        return None
    sealed = read_plan(folder / PLAN_FILE)
    told = (sealed.get("knee") or {}).get("origin") if sealed.get("plan_hash") == plan.plan_hash else None
    return {"used": plan.knee.value, "reason": plan.knee.reason, **(told or origin)}


def _estimate_conditions(
    estimate: Callable[[Sequence[MeasuredCell], Tier, Method, Row], Found],
    bench: Workbench,
    plans: Sequence[DeploymentPlan],
    summaries: Sequence[dict[str, Any]],
    seed: int,
    replicates: int,
    processes: int,
) -> SystemEstimate:
    """The estimate of a system whose experiment measures several policies at loads or in stages."""
    experiment = plans[0].experiment
    cells = [read_measured(bench, plan) for plan in plans]
    method = Method(
        n_workers=plans[0].pool,
        c_ref=plans[0].c_ref,
        knee=plans[0].knee.value,
        replicates=replicates,
        seed=seed,
        processes=processes,
    )
    manifests = [[cell.trace.manifest for cell in one if cell.trace is not None] for one in cells]
    everything = [cell for one in cells for cell in one]
    head = head_of(plans[0], [manifest for one in manifests for manifest in one])
    found = estimate(everything, plans[0].settings, method, head)
    first = next(one for one in bench.deployments if one.key == plans[0].key)
    origin = knee_facts(plans[0], bench.folder(first), bench.knee_origin(first))
    system = {
        **head,
        "design": experiment.design,
        "pool": method.n_workers,
        "knee": method.knee,
        "knee_from": origin,
        "c_ref": method.c_ref,
        **found.facts,
        "versions": next((manifest.versions for one in manifests for manifest in one), {}),
        "deployments": [
            describe(plan, summary, measured)
            for plan, summary, measured in zip(plans, summaries, manifests, strict=True)
        ],
        "deviations": deviations(plans, manifests),
    }
    return SystemEstimate({**found.tables, "attempts": _attempts(bench, plans)}, system)


def _stages(cells: Sequence[MeasuredCell], tier: Tier, method: Method, head: Row) -> Found:
    return stages.estimate_stages(cells, tier.stages, method, head, watched=tier.watch)


def _pareto(cells: Sequence[MeasuredCell], tier: Tier, method: Method, head: Row) -> Found:
    return pareto.estimate_pareto(cells, tier.loads, method, head)


def _estimate_ladders(
    bench: Workbench,
    plans: Sequence[DeploymentPlan],
    summaries: Sequence[dict[str, Any]],
    seed: int,
    replicates: int,
    processes: int,
) -> SystemEstimate:
    """The estimate of a system that one policy was measured on over a grid of C."""
    policies = dict.fromkeys(policy.name for plan in plans for policy in plan.policies)
    if len(policies) > 1:
        raise UserError(
            f"a grid of C under several policies ({', '.join(policies)}) is no ladder",
            where=f"experiment {plans[0].experiment.name}",
            remedy="give such an experiment loads or stages, or a tier with one policy",
        )
    traces = [(plan, cell, read_planned(bench, plan, cell)) for plan in plans for cell in plan.cells]
    manifests = [trace.manifest for _, _, trace in traces]
    head = {**head_of(plans[0], manifests), "policy": next(iter(policies))}
    rows: list[Row] = []
    points: list[Row] = []
    workloads: dict[str, Any] = {}
    for workload in dict.fromkeys(cell.workload.name for cell in plans[0].cells):
        mine = [(plan, cell, trace) for plan, cell, trace in traces if cell.workload.name == workload]
        valid = _valid(mine)
        ladder = Ladder(
            n_workers=plans[0].pool,
            cells={C: [cell_game(trace) for trace in cells] for C, cells in valid.items()},
            c_ref=plans[0].experiment.c_ref,
            replicates=replicates,
            seed=seed,
            processes=processes,
        )
        estimate = estimate_ladder(ladder)
        for stream, row in enumerate(estimate.rows):
            counted = [t for t in valid[row["concurrency"]] if t.manifest.launch in estimate.curves]
            row.update(performance(counted, seed, stream))
        title = mine[0][1].workload.title
        label = {**head, "workload": workload, "workload_title": title}
        rows += [{**label, **row} for row in estimate.rows]
        rows += [{**label, **row} for row in _uncounted(mine, valid)]
        points += [{"workload": workload, **point} for point in curve_points(ladder)]
        workloads[workload] = {
            "title": title,
            **summarise(estimate, ladder.c_ref),
            "growth": _growth(estimate, valid, ladder),
        }
    of_plan: list[list[Manifest]] = [
        [trace.manifest for other, _, trace in traces if other is plan] for plan in plans
    ]
    system = {
        **head,
        "pool": plans[0].pool,
        "workloads": workloads,
        "versions": manifests[0].versions,
        "deployments": [
            describe(plan, summary, measured)
            for plan, summary, measured in zip(plans, summaries, of_plan, strict=True)
        ],
        "deviations": deviations(plans, of_plan),
    }
    cells = pd.DataFrame(rows).sort_values(["workload", "concurrency"], ignore_index=True)
    # A system of which no cell is valid has no estimate of any kind, and still every column.
    cells = cells.reindex(columns=list(dict.fromkeys([*cells.columns, *CELL_COLUMNS])))
    curves = pd.DataFrame(points).reindex(columns=["workload", *CURVE_COLUMNS])
    tables = {"cells": cells, "curves": curves, "attempts": _attempts(bench, plans)}
    return SystemEstimate(tables, system)


def _attempts(bench: Workbench, plans: Sequence[DeploymentPlan]) -> pd.DataFrame:
    """Every attempt, a row each; with every column also where nothing was measured."""
    return pd.DataFrame(attempts(bench, plans), columns=list(ATTEMPT_COLUMNS))


def _valid(traces: Sequence[Measured]) -> dict[int, list[CellTrace]]:
    """Traces whose gates all passed, by concurrency."""
    valid: dict[int, list[CellTrace]] = {}
    for _, cell, trace in traces:
        if trace.manifest.gates is not None and trace.manifest.gates.valid:
            valid.setdefault(cell.concurrency, []).append(trace)
    return valid


def _uncounted(traces: Sequence[Measured], valid: Mapping[int, Sequence[CellTrace]]) -> list[Row]:
    """Rows without numbers for the concurrencies of which no launch is valid, with the reasons."""
    reasons: dict[int, list[str]] = {}
    for _, cell, trace in traces:
        if cell.concurrency not in valid and trace.manifest.gates is not None:
            reasons.setdefault(cell.concurrency, []).extend(trace.manifest.gates.reasons)
    return [
        {"concurrency": C, "valid": False, "reasons": ", ".join(dict.fromkeys(names)), "n_launches": 0}
        for C, names in reasons.items()
    ]


def _growth(
    estimate: LadderEstimate, valid: Mapping[int, Sequence[CellTrace]], ladder: Ladder
) -> dict[str, Any] | None:
    """How median TTFT and mean ITL grow from the plateau's last cell up to c_ref to the deepest cell."""
    plateau = [C for C in plateau_cells(estimate.rows) if ladder.c_ref >= C]
    deepest = max(ladder.grid, default=0)
    if not plateau or deepest <= ladder.c_ref:
        return None
    grown = growth(valid[plateau[-1]], valid[deepest], ladder.seed)
    return {"from": plateau[-1], "to": deepest, **grown}


ESTIMATORS: Final[
    ByDesign[
        Callable[
            [Workbench, Sequence[DeploymentPlan], Sequence[dict[str, Any]], int, int, int], SystemEstimate
        ]
    ]
] = {
    "ladder": _estimate_ladders,
    "stages": partial(_estimate_conditions, _stages),
    "pareto": partial(_estimate_conditions, _pareto),
}
"""`Experiment.design` -> what estimates it: a run's system, its summaries, seed, replicates, processes."""
