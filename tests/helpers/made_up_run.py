"""A whole run as it could have been measured: every cell of every deployment, sealed."""

from __future__ import annotations

import json
from typing import Any

from anarchy.ground.layout import cell_directory
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.plan.workbench import Workbench
from anarchy.trace.schema import GateResult
from anarchy.trace.writer import seal
from tests.helpers.condition_samples import constant, staged, trace_of


def seal_everything(bench: Workbench) -> None:
    """Seal every cell of a run, and complete every deployment."""
    for deployment in bench.plans:
        for cell in deployment.cells:
            write_cell(bench, deployment, cell)
        summary = bench.layout.summary(*deployment.key)
        summary.write_text(json.dumps({"sittings": [], "routing_test": {"ok": True}}))


def write_cell(bench: Workbench, deployment: DeploymentPlan, cell: Cell) -> None:
    """Seal what a cell of this plan could have measured."""
    seed = int(cell.plan_hash[:6], 16)
    spans: tuple[Any, ...] = ()
    if cell.stages:
        table, spans = staged([stage.concurrency for stage in cell.stages], seed, n=300)
    else:
        table = constant(cell.concurrency, seed, n=300)
    directory = cell_directory(bench.folder(deployment), cell.name)
    directory.mkdir(parents=True)
    trace = trace_of(
        table,
        cell.policy.name,
        cell=cell.name,
        model=deployment.model.name,
        topology=deployment.topology.name,
        launch=deployment.trial,
        concurrency=cell.concurrency,
        workload=cell.workload.name,
        engine=deployment.engine,
        plan_hash=cell.plan_hash,
        load=cell.load,
        repeat=cell.repeat,
        stages=spans,
        gates=GateResult(valid=True),
    )
    seal(directory, trace.table, trace.manifest)
