"""What a run will measure and cost, as text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from anarchy.cluster.job import gpu_hours, minutes, nodes_of
from anarchy.config.site import Site
from anarchy.engines.registry import engine_of
from anarchy.measure.progress import clock
from anarchy.plan.crowding import beyond_limits
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.plan.run import Prediction
from anarchy.plan.workbench import Workbench


@dataclass(frozen=True)
class Expected:
    """A deployment as it will be if its knee is the predicted one."""

    plan: DeploymentPlan
    predicted: Prediction
    prerequisite: bool


def expected(bench: Workbench) -> list[Expected]:
    """Every deployment of a run, with its loads at the predicted knees."""
    return [
        Expected(bench.expected(one), planned.predicted, planned.prerequisite)
        for one, planned in zip(bench.deployments, bench.run.deployments, strict=True)
    ]


def render(bench: Workbench, *, cells: bool = False) -> str:
    """A row a deployment, or with ``cells`` a row a cell in the order of measuring.

    Below it the totals, whose knees loads are multiples of, what is measured first for them, and loads beyond
    a limit. On a cluster, what the jobs are predicted to hold there as well.
    """
    planned, site = expected(bench), bench.cluster
    deployments = [one.plan for one in planned]
    table = _cell_table(deployments) if cells else _deployment_table(deployments)
    out = io.StringIO()
    console = Console(file=out, width=120, highlight=False)
    console.print(table)
    console.print(totals(deployments))
    if site is not None:
        console.print(jobs(planned, site))
    for line in (*knees(planned), *prerequisites(planned), *beyond_limits(deployments)):
        console.print(line, soft_wrap=True)
    return out.getvalue().rstrip()


def totals(deployments: Sequence[DeploymentPlan]) -> str:
    """One line: deployments, cells, wall time on one host, requests, disk, GPU-hours."""
    cells = [cell for deployment in deployments for cell in deployment.cells]
    wall = sum(deployment.wall_s for deployment in deployments)
    return (
        f"{len(deployments)} deployments, {len(cells)} cells, {clock(wall)} one after the other, "
        f"{sum(cell.cost.requests for cell in cells):,} requests, "
        f"{sum(cell.cost.disk_bytes for cell in cells) / 1e6:.0f} MB, {_gpu_hours(deployments)}"
    )


def jobs(planned: Sequence[Expected], site: Site) -> str:
    """One line: jobs, the most nodes of one, GPU-hours held, and the longest time limit."""
    served = [one for one in planned if not engine_of(one.plan.engine).replayed]
    replayed = len(planned) - len(served)
    longest = max((minutes(site, one.plan, one.predicted) for one in planned), default=0)
    found = []
    if served:
        hours = sum(gpu_hours(site, one.plan, one.predicted) for one in served)
        most = max(nodes_of(site, one.plan) for one in served)
        found.append(
            f"on partition {site.partition}: {len(served)} jobs of up to {most} nodes with "
            f"{site.gpus_per_node} GPUs, {hours:.1f} GPU-hours held"
        )
    if replayed:
        found.append(f"on partition {site.cpu_partition or site.partition}: {replayed} jobs of one CPU")
    return f"{'; '.join(found)}; time limits up to {longest} min"


def knees(planned: Sequence[Expected]) -> list[str]:
    """What the loads of each system are thought to be multiples of, and what that rests on: a line each."""
    found = {
        one.plan.key[1:3]: f"C = {one.predicted.knee}, {one.predicted.knee_from}"
        for one in planned
        if one.predicted.knee is not None
    }
    return [f"knee of {'/'.join(system)}: {words}" for system, words in found.items()]


def prerequisites(planned: Sequence[Expected]) -> list[str]:
    """What nobody asked for, but has to be measured first: one line, or none."""
    titles = [f"{one.plan.experiment.name} {one.plan.title}" for one in planned if one.prerequisite]
    return [f"measured first, for its knee: {', '.join(titles)}"] if titles else []


def _gpu_hours(deployments: Sequence[DeploymentPlan]) -> str:
    if all(engine_of(deployment.engine).simulated for deployment in deployments):
        return "no GPU (simulated engines)"
    hours = sum(d.gpus * d.wall_s / 3600 for d in deployments if not engine_of(d.engine).simulated)
    return f"{hours:.1f} GPU-hours"


def _deployment_table(deployments: Sequence[DeploymentPlan]) -> Table:
    table = Table("experiment", "deployment", "engine", title=None)
    for name in ("policies", "cells", "wall", "requests", "disk"):
        table.add_column(name, justify="right")
    for deployment in deployments:
        table.add_row(
            deployment.experiment.name,
            deployment.title,
            deployment.engine,
            str(len(deployment.policies)),
            str(len(deployment.cells)),
            clock(deployment.wall_s),
            f"{sum(cell.cost.requests for cell in deployment.cells):,}",
            f"{sum(cell.cost.disk_bytes for cell in deployment.cells) / 1e6:.1f} MB",
        )
    return table


def _levels(cell: Cell) -> str:
    """The cell's C, or that of its stages one after the other."""
    return " ".join(str(stage.concurrency) for stage in cell.stages) or str(cell.concurrency)


def _cell_table(deployments: Sequence[DeploymentPlan]) -> Table:
    table = Table("deployment", "cell")
    for name in ("C", "wall", "requests", "requests/s", "disk"):
        table.add_column(name, justify="right")
    for deployment in deployments:
        for cell in deployment.cells:
            cost = cell.cost
            table.add_row(
                deployment.title,
                cell.name,
                _levels(cell),
                clock(cost.wall_s),
                f"{cost.requests:,}",
                f"{cost.throughput:.0f}",
                f"{cost.disk_bytes / 1e3:.0f} kB",
            )
        table.add_section()
    return table
