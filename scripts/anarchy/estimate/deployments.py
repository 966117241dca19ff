"""The deployments of one system, read back: cells, attempts, and what a reader must know of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from anarchy.config import Limits, Policy, Workload
from anarchy.config.loads import Stage
from anarchy.engines.devices import common_label, engine_label
from anarchy.engines.dynamo import described
from anarchy.engines.engine import Ran
from anarchy.engines.registry import engine_of, engines
from anarchy.estimate.companions import with_decisions
from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.layout import MANIFEST_FILE, cell_directory
from anarchy.plan.launches import Cell, DeploymentPlan
from anarchy.plan.workbench import Workbench
from anarchy.trace.reader import CellTrace, is_sealed, read_cell, read_manifest, sealed_cells
from anarchy.trace.schema import Manifest

Row = dict[str, Any]

BUSY_HOST: Final = 0.60
"""Share of the host's cores above which the dilation was chosen too small; shown, not gated."""
HELD_BACK_SHARE: Final = 0.01
"""Share of the GPUs' samples from which it is marked that power or heat held them back; shown, not gated."""
MANY: Final = 20
"""So many cells are named; of more their number is told."""


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """One planned cell of one launch, with what it measured; `reason` says why it does not count."""

    routing: str
    """Name of the set of policies that its deployment served."""
    policy: Policy
    reference: bool
    """Whether the latency curves of its set are fitted to its policy."""
    launch: int
    workload: Workload
    name: str
    concurrency: int
    load: str
    stages: tuple[Stage, ...]
    repeat: int
    trace: CellTrace | None
    """The sealed trace, valid or not; None where nothing was measured."""
    reason: str
    limits: Limits = field(default_factory=Limits)
    """Of the workers that it was measured on."""

    @property
    def valid(self) -> bool:
        """Whether it counts."""
        return self.trace is not None and not self.reason


def read_measured(bench: Workbench, plan: DeploymentPlan) -> list[MeasuredCell]:
    """Every planned cell of a launch, in the order of its policies and loads; errors as `read_planned`.

    A cell that was never measured is kept, with that as its reason.
    """
    return [_measured(bench, plan, cell) for cell in sorted(plan.cells, key=_by_plan(plan))]


def _by_plan(plan: DeploymentPlan) -> Callable[[Cell], tuple[int, int, int]]:
    """Cells are measured in a shuffled order; rows stand in that of the configuration."""
    place = {policy.name: place for place, policy in enumerate(plan.policies)}
    return lambda cell: (place[cell.policy.name], cell.concurrency, cell.repeat)


def _measured(bench: Workbench, plan: DeploymentPlan, cell: Cell) -> MeasuredCell:
    trace, reason = None, "not measured" if cell.concurrency else f"no knee was found: {plan.knee.reason}"
    if cell.concurrency and is_sealed(cell_directory(bench.folder(plan), cell.name)):
        trace = with_decisions(read_planned(bench, plan, cell))
        gates = trace.manifest.gates
        reason = "not judged by the gates"
        if gates is not None:
            reason = "" if gates.valid else ", ".join(gates.reasons) or "not valid"
    return MeasuredCell(
        routing=plan.routing,
        policy=cell.policy,
        reference=cell.policy.name == plan.reference.name,
        launch=plan.trial,
        workload=cell.workload,
        name=cell.name,
        concurrency=cell.concurrency,
        load=cell.load,
        stages=cell.stages,
        repeat=cell.repeat,
        trace=trace,
        reason=reason,
        limits=plan.limits,
    )


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of a whole deployment; raises UserError where it is not complete."""
    if not path.exists():
        raise UserError(
            "the deployment is not complete", where=path, remedy="run `snakemake`: open cells are measured"
        )
    return load_json(path, remedy="remove it and run again")


def read_planned(bench: Workbench, plan: DeploymentPlan, cell: Cell) -> CellTrace:
    """A sealed cell; raises UserError where it cannot be trusted or was measured under another plan."""
    directory = cell_directory(bench.folder(plan), cell.name)
    trace = read_cell(directory)
    if trace.manifest.plan_hash != cell.plan_hash:
        raise UserError(
            "was measured under another plan (model, timing table, workload, timing or seed changed since)",
            where=directory,
            remedy=f"remove {bench.layout.summary(*plan.key)} and run again: it is set aside and measured "
            "again; or restore the configuration",
        )
    stack = described(trace.manifest.versions)
    if stack is not None and stack.version != plan.stack.dynamo:
        raise UserError(
            f"was measured with Dynamo {stack.version}, and planned with {plan.stack.dynamo}: the two are "
            "never taken together",
            where=directory,
            remedy="move this deployment's folder away, or ask for the stack that measured it (key 'stack')",
        )
    return trace


def head_of(plan: DeploymentPlan, manifests: Sequence[Manifest]) -> Row:
    """What labels everything that is said of a system."""
    return {
        "experiment": plan.experiment.name,
        "tier": plan.tier,
        "model": plan.model.name,
        "model_title": plan.model.title,
        "topology": plan.topology.name,
        "topology_title": plan.topology.title,
        "engine": _label(plan, manifests),
        "dilation": plan.model.dilation,
    }


def _label(plan: DeploymentPlan, manifests: Sequence[Manifest]) -> str:
    """What the engines of cells are called together; of the planned one where no cell was measured."""
    labels = [engine_label(of.engine, of.device, of.versions) for of in manifests]
    return common_label(labels or [engine_label(plan.engine, None, {"ai-dynamo": plan.stack.dynamo})])


def describe(plan: DeploymentPlan, summary: dict[str, Any], cells: Sequence[Manifest]) -> dict[str, Any]:
    """What a deployment took, wall seconds; `measuring_s` is the part spent in measure phases that count."""
    starts = summary["sittings"]
    return {
        "routing_set": plan.routing,
        "trial": plan.trial,
        "engine": _label(plan, cells),
        "measuring_s": sum((cell.client.get("measure_s") or 0.0) * cell.dilation for cell in cells),
        "gpus": max((start.get("gpus", 0) for start in starts), default=0),
        "predicted_s": plan.wall_s,
        "routing_test": summary["routing_test"],
        "sittings": len(starts),
        **({"running_on": told} if (told := summary.get("running_on")) else {}),
        **{name: sum(start[name] for start in starts) for name in ("start_s", "cells_s", "stop_s", "wall_s")},
    }


def held_back(plans: Sequence[DeploymentPlan], summaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A mark for each deployment whose GPUs were slower than their work asked, as its telemetry tells."""
    marks = []
    for plan, summary in zip(plans, summaries, strict=True):
        share = (summary.get("running_on") or {}).get("held_back_share")
        if share is not None and share > HELD_BACK_SHARE:
            marks.append(
                f"power or heat held the GPUs of {plan.routing}, launch {plan.trial} back for {share:.0%} of "
                "the time while measuring"
            )
    return marks


def deviations(plans: Sequence[DeploymentPlan], cells: Sequence[Sequence[Manifest]]) -> list[str]:
    """What a reader must know before comparing: departures from the paper, and from a quiet run.

    `cells` are the manifests of each of the plans.
    """
    found: list[str] = []
    manifests = [manifest for one in cells for manifest in one]
    for name, engine in engines().items():
        if ran := [Ran(one.versions, one.device) for one in manifests if one.engine == name]:
            found += engine.deviations(ran)
    for workload in {cell.workload.name: cell.workload for plan in plans for cell in plan.cells}.values():
        prompts = f"{workload.templates} prompt templates" if workload.templates else "unique prompts"
        prompts += f" (popularity Zipf {workload.skew:g})" if workload.skew else ""
        prompts += f" of {workload.input_tokens} tokens"
        tail = workload.unique_tail_tokens
        prompts += f", the last {tail} each request's own" if tail else ""
        found.append(
            f"workload {workload.name}: {prompts} (the paper: 5 templates of 128), "
            f"{workload.output_tokens} output tokens +-{workload.output_jitter:.0%} (the paper's length is "
            f"not known to us){_thinking(workload)}"
        )
    busy = [m for m in manifests if m.gates and (m.gates.measures.get("host_cpu_share") or 0) > BUSY_HOST]
    if busy:
        names = ", ".join(f"{manifest.cell} of launch {manifest.launch}" for manifest in busy[:MANY])
        more = f" and {len(busy) - MANY} more" if len(busy) > MANY else ""
        remedy = ": dilate time more" if engine_of(busy[0].engine).dilates else ""
        found.append(f"the host was more than {BUSY_HOST:.0%} busy while measuring {names}{more}{remedy}")
    for name in sorted({key for manifest in manifests for key in manifest.versions}):
        values = sorted({manifest.versions.get(name) or "unknown" for manifest in manifests})
        if len(values) > 1:
            found.append(f"{name} changed during the run: {' and '.join(values)}")
    several = len({plan.routing for plan in plans}) > 1
    for plan, measured in zip(plans, cells, strict=True):
        launches = {manifest.launched_at for manifest in measured}
        if len(launches) > 1:
            of = f" of {plan.routing}" if several else ""
            found.append(f"launch {plan.trial}{of} was measured in {len(launches)} starts of the stack")
    return found


def _thinking(workload: Workload) -> str:
    """That users think, or wait for no answer, in words; nothing where they do not."""
    if workload.send_every_s:
        return (
            f"; an open loop: C / {workload.send_every_s:g} requests come a second by themselves, and any "
            "number is in flight"
        )
    if not workload.think_s:
        return ""
    return (
        f"; users think {workload.think_s:g} s on average after an answer, so fewer than C requests are in "
        "flight"
    )


_MEASURES: Final = (
    *("client_cpu_share", "host_cpu_share", "loop_lag_p99_s"),
    *("error_share", "drift", "windows"),
)
"""What gates measured of an attempt."""


def attempts(bench: Workbench, plans: Sequence[DeploymentPlan]) -> list[Row]:
    """Every attempt at every cell, the ones set aside included, in the order of measuring."""
    rows = []
    for plan in plans:
        folder = bench.folder(plan)
        planned = {cell.name: cell.plan_hash for cell in plan.cells}
        aside = sorted(path.parent for path in folder.glob(f"attempts/*/{MANIFEST_FILE}"))
        for directory in (*aside, *sealed_cells(folder)):
            manifest = read_manifest(directory)
            gates = manifest.gates
            measures = gates.measures if gates else {}
            rows.append(
                {
                    "model": manifest.model,
                    "topology": manifest.topology,
                    "routing_set": plan.routing,
                    "policy": manifest.policy,
                    "trial": manifest.launch,
                    "cell": manifest.cell,
                    "workload": manifest.workload,
                    "concurrency": manifest.concurrency,
                    "load": manifest.load,
                    "repeat": manifest.repeat,
                    "attempt": manifest.attempt,
                    "valid": gates is not None and gates.valid,
                    "reasons": ", ".join(gates.reasons) if gates else "",
                    "n_requests": manifest.seal.rows if manifest.seal else 0,
                    "started_at": manifest.started_at,
                    "duration_wall_s": (manifest.duration_s or math.nan) * manifest.dilation,
                    # An attempt under another plan (seed, timing, table) may be valid and still not count.
                    "counted": directory.parent.name == "cells"
                    and planned.get(manifest.cell) == manifest.plan_hash
                    and gates is not None
                    and gates.valid,
                    **{name: measures.get(name) for name in _MEASURES},
                }
            )
    return sorted(rows, key=lambda row: str(row["started_at"]))
