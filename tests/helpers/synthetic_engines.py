"""Plausible estimates of two engines (V1), written as `anarchy system` writes them; nothing is measured.

The virtual clock is off in TTFT P99 past C_ref, and the live cell of the largest C of each further workload
is not counted (`client_bound`).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from anarchy.config import KNEE_WORKLOAD
from anarchy.designs.engines.agreement import COMPARED, Comparison, agreement
from anarchy.designs.engines.columns import DIFFERENCES, SIDES
from anarchy.designs.engines.tier import Tolerances
from anarchy.ground.layout import Layout
from tests.helpers.synthetic_estimates import (
    SYSTEMS,
    WORKLOADS,
    common_facts,
    document_facts,
    write_attempts,
    write_table,
)

GRID: Final = (16, 64, 192)
C_REF: Final = 64
ENGINES: Final = {"live": "mocker", "virtual": "virtual"}
LEVELS: Final = {
    "poa_hat": 1.02, "poa_cal": 1.01, "ttft_p50": 0.04, "ttft_p99": 0.09, "itl_mean": 0.0065,
    "throughput_rps": 0.9, "window_range": 1.4, "within_ttft": 40.0, "within_itl": 41.0, "goodput": 38.0,
}  # fmt: skip
"""At the smallest C."""
OFF: Final = 1.4
"""Virtual TTFT P99 past C_ref, over live."""


def write_engines(
    root: Path,
    *,
    tier: str = "quick",
    workloads: tuple[str, ...] = (KNEE_WORKLOAD,),
    launches: int = 1,
    experiment: str = "engines",
    systems: slice = slice(1, 2),
    quantities: tuple[str, ...] = COMPARED,
) -> Layout:
    """Write the systems' folders under ``root/<tier>``."""
    layout = Layout(root / tier)
    for place, shape in enumerate(SYSTEMS[systems]):
        rng = np.random.default_rng(300 + place)
        common = common_facts(shape, experiment, tier)
        sides = pd.DataFrame(
            [
                {**common, **_side(name, routing, C, launches, bool(number) and GRID[-1] == C, rng)}
                for number, name in enumerate(workloads)
                for routing in ENGINES
                for C in GRID
            ]
        )
        compared = {name: _comparisons(sides[sides["workload"] == name], quantities) for name in workloads}
        differences = pd.DataFrame(
            [{**common, **_difference(name, one, launches)} for name in workloads for one in compared[name]]
        )
        folder = layout.estimates(experiment, shape["model"], shape["topology"])
        folder.mkdir(parents=True, exist_ok=True)
        write_attempts(folder, shape, [f"{name}-c{C:04d}_static" for name in workloads for C in GRID])
        (folder / "curves.parquet").unlink()
        write_table(sides, SIDES, folder / "sides.parquet")
        write_table(differences, DIFFERENCES, folder / "differences.parquet")
        info = document_facts(common, shape, launches, workloads)
        for workload in info["workloads"].values():
            del workload["rise"]
        info |= {
            "design": "engines",
            "policy": "static",
            "c_ref": C_REF,
            "engines": ENGINES,
            "tolerances": {name: asdict(Tolerances().of(name)) for name in quantities},
            "agreement": [agreement(name, WORKLOADS[name], compared[name], C_REF) for name in workloads],
        }
        (folder / "system.json").write_text(json.dumps(info, indent=2, allow_nan=False), encoding="utf-8")
    return layout


def _side(
    workload: str, routing: str, C: int, launches: int, uncounted: bool, rng: np.random.Generator
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "workload": workload,
        "workload_title": WORKLOADS[workload],
        "routing_set": routing,
        "engine_name": ENGINES[routing],
        "concurrency": C,
        "n_launches": launches,
        "interval_kind": "across-launches" if launches >= 3 else "within-run",
        "n_requests": 40 * C,
        "n_windows": 20 * C,
        "block_length": 4.2,
        "valid": True,
        "reasons": "",
    }
    if routing == "virtual":
        row["dilation"] = 1.0
    if uncounted and routing == "live":
        return {
            **row, "n_launches": 0, "interval_kind": None, "n_requests": None, "n_windows": None,
            "block_length": None, "valid": False, "reasons": "client_bound",
        }  # fmt: skip
    for name, level in LEVELS.items():
        grown = level * (C / GRID[0]) ** (0.6 if name.startswith(("ttft", "poa_hat")) else 0.3)
        if (name, routing) == ("ttft_p99", "virtual") and C > C_REF:
            grown *= OFF
        value = grown * math.exp(rng.normal(0, 0.005))
        row |= {name: value, f"{name}_lo": 0.96 * value, f"{name}_hi": 1.05 * value}
    return row


def _comparisons(sides: pd.DataFrame, quantities: tuple[str, ...]) -> list[Comparison]:
    at = {(row["routing_set"], row["concurrency"]): row for row in sides.to_dict("records")}
    found = []
    for C in GRID:
        live, virtual = at["live", C], at["virtual", C]
        absent = "" if live["valid"] else f"live: {live['reasons']}"
        found += [
            Comparison(name, C, live[name], virtual[name], Tolerances().of(name), absent)
            for name in quantities
        ]
    return found


def _difference(workload: str, one: Comparison, launches: int) -> dict[str, Any]:
    difference = math.nan if one.difference is None else one.difference
    return {
        "workload": workload,
        "workload_title": WORKLOADS[workload],
        "live_engine": ENGINES["live"],
        "virtual_engine": ENGINES["virtual"],
        "concurrency": one.concurrency,
        "quantity": one.quantity,
        "live": one.live,
        "virtual": one.virtual,
        "difference": difference,
        "difference_lo": difference - 0.03,
        "difference_hi": difference + 0.04,
        "tolerance": one.allowed,
        "within": one.within,
        "n_launches": 0 if one.reason else launches,
        "interval_kind": "across-launches" if launches >= 3 else "within-run",
        "valid": not one.reason,
        "reasons": one.reason,
    }
