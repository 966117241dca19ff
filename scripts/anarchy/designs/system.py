"""One system's estimates: read every deployment of a model on a topology, estimate, write.

What is estimated of the cells hangs on the experiment's design; everything around it is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from anarchy.config import Topology
from anarchy.designs.design import Design
from anarchy.designs.registry import design_of
from anarchy.engines.registry import engine_of
from anarchy.estimate.columns import ATTEMPTS
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import (
    MeasuredCell,
    attempts,
    describe,
    deviations,
    head_of,
    held_back,
    read_measured,
    read_summary,
)
from anarchy.estimate.frames import frame, write
from anarchy.estimate.grouping import Found
from anarchy.estimate.ladder import REPLICATES
from anarchy.ground.errors import UserError
from anarchy.ground.files import disk_errors, make_folder, write_json
from anarchy.plan.knee import PLAN_FILE, read_plan
from anarchy.plan.launches import DeploymentPlan
from anarchy.plan.workbench import Workbench

Row = dict[str, Any]


@dataclass(frozen=True)
class SystemEstimate:
    """What `anarchy system` writes for one system: the tables of its design by the files' stems."""

    design: Design
    tables: Mapping[str, pd.DataFrame]
    system: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write a Parquet file a table and, last, system.json, each as its schema says.

        Raises KeyError, pyarrow.ArrowInvalid or pydantic.ValidationError for what is not as its schema says.
        """
        self.design.part("document").DOCUMENT.model_validate(self.system)
        make_folder(folder)
        with disk_errors(folder):
            for stem, schema in self.design.part("columns").TABLES.items():
                write(self.tables[stem], schema, folder / f"{stem}.parquet")
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
    design = design_of(plans[0].experiment.design)
    measured = [read_measured(bench, plan) for plan in plans]
    manifests = [[cell.trace.manifest for cell in cells if cell.trace is not None] for cells in measured]
    method = Method(
        n_workers=plans[0].pool,
        c_ref=plans[0].c_ref,
        knee=plans[0].knee.value,
        replicates=replicates,
        seed=plans[0].seed,
        processes=processes,
        # What a real engine takes stands in no table: a reading that asks one is refused.
        profile=bench.profiles[plans[0].model.profile]
        if all(engine_of(plan.engine).follows_table for plan in plans)
        else None,
    )
    head = head_of(plans[0], [manifest for one in manifests for manifest in one])
    everything = [cell for cells in measured for cell in cells]
    peers = (_peers(bench, plans[0], everything),) if design.budget else ()
    found: Found = design.part("estimate").estimate(everything, plans[0].settings, method, head, *peers)
    system = {
        **head,
        "design": design.name,
        "pool": method.n_workers,
        **_loads(bench, plans[0], method),
        **found.facts,
        "versions": next((manifest.versions for one in manifests for manifest in one), {}),
        "deployments": [
            describe(plan, summary, of_plan)
            for plan, summary, of_plan in zip(plans, summaries, manifests, strict=True)
        ],
        "deviations": [*deviations(plans, manifests), *held_back(plans, summaries)],
    }
    tables = {**found.tables, "attempts": frame(attempts(bench, plans), ATTEMPTS)}
    return SystemEstimate(design, tables, system)


def _peers(
    bench: Workbench, plan: DeploymentPlan, own: list[MeasuredCell]
) -> dict[Topology, list[MeasuredCell]]:
    """Cells of every topology of a plan's model in its experiment; errors as `estimate_system`."""
    found: dict[Topology, list[MeasuredCell]] = {plan.topology: own}
    for deployment in bench.deployments:
        same = deployment.key[:2] == plan.key[:2] and deployment.topology != plan.topology
        if same:
            other = bench.bound(deployment)
            read_summary(bench.layout.summary(*other.key))
            found.setdefault(deployment.topology, []).extend(read_measured(bench, other))
    return found


def _loads(bench: Workbench, plan: DeploymentPlan, method: Method) -> Row:
    """What loads are multiples of; nothing of a grid of C."""
    if not plan.settings.levels:
        return {}
    first = next(one for one in bench.deployments if one.key == plan.key)
    origin = knee_facts(plan, bench.folder(first), bench.knee_origin(first))
    return {"knee": method.knee, "knee_from": origin, "c_ref": method.c_ref}


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
