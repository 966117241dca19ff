"""A sweep without a serving stack: it seals cells of a made-up closed loop, whose knee lies near C = 80.

The environment says what is wrong with them. MADE_UP_FLAT: latency never bends, so there is no knee.
MADE_UP_FAILS: a gate that every cell of more users than 32 fails. MADE_UP_WAITS: every sweep waits until this
file is there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from anarchy.ground.layout import cell_directory
from anarchy.measure import sweep
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.trace.schema import GateResult
from anarchy.trace.state import set_aside
from anarchy.trace.writer import seal
from tests.helpers.condition_samples import staged, trace_of
from tests.helpers.ladder_samples import closed_loop

FAILS = os.environ.get("MADE_UP_FAILS", "")
FLAT = 10**6


def measure(bench: Any, plan: DeploymentPlan, folder: Path, cells: list[Cell], log: Path | None) -> None:
    """Seal every cell, and say so in the log."""
    del bench
    while (waits := os.environ.get("MADE_UP_WAITS")) and not Path(waits).exists():
        time.sleep(0.1)
    for cell in cells:
        write_cell(plan, folder, cell)
        if log:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"made up {cell.name} C = {cell.concurrency}\n")


def write_cell(plan: DeploymentPlan, folder: Path, cell: Cell) -> None:
    seed = int(cell.plan_hash[:6], 16)
    spans: tuple[Any, ...] = ()
    if cell.stages:
        table, spans = staged([stage.concurrency for stage in cell.stages], seed, n=400)
    else:
        bend = {"saturation": FLAT} if os.environ.get("MADE_UP_FLAT") else {}
        table = closed_loop(cell.concurrency, seed=seed, n=max(600, 6 * cell.concurrency), **bend)
    gates = GateResult(valid=True)
    if FAILS and cell.concurrency > 32:
        gates = GateResult(valid=False, reasons=(FAILS,))
    directory = cell_directory(folder, cell.name)
    set_aside(directory)
    directory.mkdir(parents=True)
    trace = trace_of(
        table,
        cell.policy.name,
        cell=cell.name,
        model=plan.model.name,
        topology=plan.topology.name,
        experiment=plan.experiment.name,
        tier=plan.tier,
        launch=plan.trial,
        concurrency=cell.concurrency,
        workload=cell.workload.name,
        engine="mocker",
        plan_hash=cell.plan_hash,
        load=cell.load,
        repeat=cell.repeat,
        stages=spans,
        gates=gates,
    )
    seal(directory, trace.table, trace.manifest)


sweep._measure = measure
sweep._check_before_start = lambda *_: None
