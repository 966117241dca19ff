"""What `anarchy knee` does: E1's estimate of a system in, the knee as loads are multiples of it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anarchy.config import KNEE_WORKLOAD
from anarchy.config.loads import Knee
from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.layout import cell_directory
from anarchy.plan.knee import (
    PLAN_FILE,
    Estimated,
    Failed,
    estimated,
    read_plan,
    sealed_knees,
    settled,
    write_loads,
)
from anarchy.plan.workbench import Workbench


def tell_knee(bench: Workbench, model: str, topology: str) -> str:
    """Write the knee of a system and where it comes from; return what it is, in a sentence.

    E1 may be of another engine than the loads, and its origin says of which. Raises UserError where E1 is not
    estimated, was measured under another plan than that of this run, or may yet tell a knee.
    """
    ladder = bench.ladder_of(model, topology)
    folder = bench.layout.estimates(ladder, model, topology)
    system = _system(folder / "system.json")
    launches = [one for one in bench.deployments if one.key[:3] == (ladder, model, topology)]
    summaries = [bench.layout.summary(*launch.key) for launch in launches]
    found = estimated(system, _failed(folder / "cells.parquet"), folder / "system.json", summaries)
    served = bench.served(bench.deployment_of(ladder, model, topology))
    value = settled(found, sealed_knees(bench.layout, model, topology, served))
    knee = Knee(value, reason=found.reason)
    origin = {
        **served,
        "value": found.value,
        "interval": [found.lo, found.hi],
        "workload": KNEE_WORKLOAD,
        "experiment": ladder,
        "tier": system["tier"],
        "label": system["engine"],
        **_measured(bench, ladder, model, topology),
    }
    write_loads(bench.layout, model, topology, knee, origin)
    return _sentence(f"{model} on {topology}", found, knee)


def check_sealed_loads(bench: Workbench) -> None:
    """Refuse results whose loads are of before runs measured their knees: they would be measured again.

    Raises UserError for a deployment with sealed cells and without a `plan.json`.
    """
    from anarchy.trace.reader import sealed_cells

    old = [
        bench.folder(one)
        for one in bench.deployments
        if bench.knee_source(one) == "measured"
        and not (bench.folder(one) / PLAN_FILE).exists()
        and sealed_cells(bench.folder(one))
    ]
    if not old:
        return
    raw = bench.layout.root / "raw"
    others = " and others" if len(old) > 1 else ""
    raise UserError(
        f"{len(old)} deployments were measured before runs told their knees (no {PLAN_FILE}): "
        f"{old[0]}{others}; "
        "with the knee of this run they would be measured again",
        where=bench.layout.root,
        remedy="keep them with the loads that they have: knees=recorded; or put them aside and measure anew: "
        f"mv {raw} {raw}-before-knees",
    )


def _measured(bench: Workbench, ladder: str, model: str, topology: str) -> dict[str, Any]:
    """The run that measured E1, and when; raises UserError where its cells are not of this run's plan."""
    from anarchy.trace.reader import read_manifest

    starts = []
    for launch in (one for one in bench.deployments if one.key[:3] == (ladder, model, topology)):
        for cell in bench.bound(launch).cells:
            directory = cell_directory(bench.folder(launch), cell.name)
            manifest = read_manifest(directory)
            if manifest.plan_hash != cell.plan_hash:
                raise UserError(
                    f"E1 was measured under another plan (engine {manifest.engine}; or another serving "
                    "stack, "
                    "timing table, seed or timing), so its knee is not this run's",
                    where=directory,
                    remedy="run snakemake: E1 is measured again; or give this run a results folder of its "
                    "own",
                )
            starts.append(manifest.started_at or "")
    first = bench.folder(bench.deployment_of(ladder, model, topology))
    return {
        "run": read_plan(first / PLAN_FILE).get("run", bench.run.digest),
        "date": min(filter(None, starts), default="")[:10],
    }


def _system(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise UserError(
            "E1 of this system is not estimated yet", where=path, remedy="run snakemake: it measures E1 first"
        )
    return load_json(path, remedy="remove it and run again")


def _failed(path: Path) -> list[Failed]:
    """The cells of E1 under KNEE_WORKLOAD that do not count."""
    import pandas as pd

    rows = pd.read_parquet(path, columns=["workload", "concurrency", "valid", "reasons"])
    rows = rows[(rows["workload"] == KNEE_WORKLOAD) & ~rows["valid"].astype(bool)]
    return [
        Failed(int(row["concurrency"]), tuple(filter(None, str(row["reasons"] or "").split(", "))))
        for row in rows.to_dict("records")
    ]


def _sentence(system: str, found: Estimated, knee: Knee) -> str:
    if found.value is None:
        return f"{system}: no knee ({found.reason}); loads that are multiples of it are not measured"
    interval = "" if found.lo is None or found.hi is None else f" [{found.lo:.1f}, {found.hi:.1f}]"
    words = f"{system}: knee at C = {found.value:.1f}{interval}, loads are multiples of {knee.value}"
    kept = knee.value != max(1, round(found.value))
    return words + (" (kept: sealed loads are, and the interval holds it)" if kept else "")
