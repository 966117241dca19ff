"""The manifest of a cell: what its plan knows, the same for every engine, and what was measured beside it."""

from __future__ import annotations

from typing import Any, Literal

from anarchy.config import Workload
from anarchy.engines.dynamo import dynamo_of
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.trace.schema import Manifest, WorkerCount


def manifest_of(plan: DeploymentPlan, cell: Cell, **measured: Any) -> Manifest:
    """The manifest of a cell; ``measured`` are its further fields (`trace.schema.Manifest`)."""
    return Manifest(
        cell=cell.name,
        model=plan.model.name,
        topology=plan.topology.name,
        policy=cell.policy.name,
        way=cell.policy.way,
        load=cell.load,
        repeat=cell.repeat,
        concurrency=cell.concurrency,
        n_workers=WorkerCount(prefill=plan.topology.prefill, decode=plan.topology.decode),
        launch=plan.trial,
        experiment=plan.experiment.name,
        tier=plan.tier,
        workload=cell.workload.name,
        loop=_loop(cell.workload),
        think_s=cell.workload.think_s,
        send_every_s=cell.workload.send_every_s or None,
        engine=plan.engine,
        departures=dynamo_of(plan.stack.dynamo).departures,
        dilation=plan.model.dilation,
        plan_hash=cell.plan_hash,
        **measured,
    )


def _loop(workload: Workload) -> Literal["closed", "think", "open"]:
    """How the requests of a workload come."""
    if workload.send_every_s:
        return "open"
    return "think" if workload.think_s else "closed"
