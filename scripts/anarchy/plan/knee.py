"""The knee as an edge of the workflow: from E1's estimate to the loads of E2, E3 and E4, bound once.

`loads.json` holds only the knee as it is used, so that an estimate made again with the same result measures
nothing again; where the knee comes from is in `provenance.json` beside it. Before its first cell a sweep
writes `plan.json` into its folder: the C of every cell, and the knee that they are multiples of, with its
origin.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anarchy.config import KNEE_WORKLOAD
from anarchy.config.loads import Knee
from anarchy.gates.registry import machine_gates
from anarchy.ground.bounded import load_json
from anarchy.ground.errors import UserError
from anarchy.ground.files import write_json
from anarchy.ground.layout import Layout
from anarchy.plan.launches import DeploymentPlan

PLAN_FILE = "plan.json"
"""Beside a deployment's summary: what its cells were bound to before the first was measured."""


@dataclass(frozen=True)
class Estimated:
    """A knee as E1's estimate tells it, C; `value` None: none was found, for this reason."""

    value: float | None
    lo: float | None = None
    hi: float | None = None
    reason: str = ""

    def contains(self, knee: int) -> bool:
        """Whether a knee lies within the interval, or is the value rounded where there is no interval."""
        if self.value is None:
            return False
        low = self.value if self.lo is None else min(self.lo, self.value)
        high = self.value if self.hi is None else max(self.hi, self.value)
        return low <= knee <= high or knee == round(self.value)


@dataclass(frozen=True)
class Failed:
    """A concurrency of E1 that does not count, and the gates that say why."""

    concurrency: int
    reasons: tuple[str, ...]


def estimated(
    system: Mapping[str, Any], failed: Sequence[Failed], path: Path, summaries: Sequence[Path] = ()
) -> Estimated:
    """The knee in a `system.json` of E1; ``failed``: its cells under KNEE_WORKLOAD that do not count.

    ``summaries``: those of its launches, whose absence has their open cells measured again.

    Raises UserError where none was found and cells are missing that may yet become valid: those that failed
    only because of the machine. Cells that failed for what they showed are part of the finding.
    """
    found = (system.get("workloads") or {}).get(KNEE_WORKLOAD)
    if found is None:
        raise UserError(
            f"holds no workload {KNEE_WORKLOAD}, which knees are of",
            where=path,
            remedy="measure it in E1, or take a recorded knee (knees=recorded)",
        )
    knee = found["knee"]
    if knee["exists"]:
        return Estimated(knee["knee"], knee.get("lo"), knee.get("hi"))
    told = [(one.concurrency, ", ".join(one.reasons) or "not estimated") for one in failed]
    words = ", ".join(f"C = {C} ({why})" for C, why in told)
    reason = str(knee.get("reason") or knee.get("note") or "no bend on this grid")
    if any(one.reasons and set(one.reasons) <= machine_gates() for one in failed):
        raise UserError(
            f"E1 tells no knee ({reason}), and cells failed because of the machine: {words}",
            where=path,
            remedy="have the machine to yourself and run again after `rm "
            f"{' '.join(map(str, (*summaries, path)))}`: the cells that failed are measured again, all "
            "others "
            "are kept; or take a recorded knee (knees=recorded)",
        )
    return Estimated(None, reason=f"{reason}; cells that do not count: {words}" if words else reason)


def settled(found: Estimated, sealed: Iterable[int]) -> int | None:
    """The knee as it is used: rounded, or that of sealed loads while the estimate allows it.

    Rounding alone would flip at its edges, and every flip measures E2 to E4 again.
    """
    if found.value is None:
        return None
    kept = [knee for knee in dict.fromkeys(sealed) if found.contains(knee)]
    value = found.value
    return min(kept, key=lambda knee: abs(knee - value)) if kept else max(1, round(value))


def sealed_knees(layout: Layout, model: str, topology: str, served: Mapping[str, str]) -> list[int]:
    """Knees that sealed loads of a system are multiples of: of deployments with a sealed cell, same stack."""
    from anarchy.trace.reader import sealed_cells  # loads pyarrow, and every call of Snakemake loads this

    found = []
    for path in sorted(layout.root.glob(f"raw/*/{model}/{topology}/*/*/{PLAN_FILE}")):
        if not sealed_cells(path.parent):
            continue
        knee = read_plan(path).get("knee") or {}
        origin = knee.get("origin") or {}
        if knee.get("value") and all(origin.get(key) == value for key, value in served.items()):
            found.append(int(knee["value"]))
    return found


def write_loads(layout: Layout, model: str, topology: str, knee: Knee, origin: Mapping[str, Any]) -> Path:
    """Write the knee as it is used and, apart from it, where it comes from."""
    loads, provenance = layout.loads(model, topology), layout.provenance(model, topology)
    document: dict[str, Any] = {"knee": knee.value}
    if knee.value is None:
        document["reason"] = knee.reason
    write_json(provenance, dict(origin))
    write_json(loads, document)
    return loads


def read_loads(layout: Layout, model: str, topology: str, grid: Sequence[int]) -> Knee:
    """The knee of a system as E1 of this run told it; raises UserError where it has not."""
    path = layout.loads(model, topology)
    document = _read(path, "E1 has not told the knee of this system yet, or the file was deleted")
    value = document.get("knee")
    if not (value is None or (isinstance(value, int) and value > 0)):
        raise UserError(f"key 'knee': {value!r} is no C", where=path, remedy=REMAKE)
    return Knee(value, tuple(grid), str(document.get("reason", "")))


def read_origin(layout: Layout, model: str, topology: str) -> dict[str, Any]:
    """Where the knee in `loads.json` comes from; raises UserError where that is not known."""
    return _read(layout.provenance(model, topology), "nothing says where the knee comes from")


REMAKE = "remove it and run snakemake: the knee is told again from E1's estimate, and sealed cells are kept"


def _read(path: Path, missing: str) -> dict[str, Any]:
    if not os.path.exists(path):
        remedy = "run snakemake: E1 comes first; or `anarchy knee MODEL TOPOLOGY` where E1 is estimated"
        raise UserError(missing, where=path, remedy=remedy)
    return load_json(path, remedy=REMAKE)


def plan_document(
    plan: DeploymentPlan, run: str, origin: Mapping[str, Any], loads: Path | None
) -> dict[str, Any]:
    """What a sweep seals before its first cell; ``loads``: the file that its knee was read from."""
    knee: dict[str, Any] | None = None
    if plan.settings.hangs_on_knee:
        knee = {"value": plan.knee.value, "reason": plan.knee.reason, "origin": dict(origin)}
        if loads is not None:
            knee["loads"] = hashlib.sha256(loads.read_bytes()).hexdigest()
    return {
        "deployment": plan.title,
        "experiment": plan.experiment.name,
        "run": run,
        "plan_hash": plan.plan_hash,
        "knee": knee,
        "cells": {
            cell.name: {
                "concurrency": [s.concurrency for s in cell.stages] or cell.concurrency,
                "plan_hash": cell.plan_hash,
            }
            for cell in plan.cells
        },
    }


def read_plan(path: Path) -> dict[str, Any]:
    """What a sweep sealed before its first cell; empty where it was of before there was such a file."""
    return _read(path, "") if path.is_file() else {}
