"""Plausible estimates of three systems, written as `anarchy system` writes them; nothing here is measured.

One cell of the 340B system is not counted (two attempts, `client_bound`), in another its users march in
step, one attempt elsewhere failed and was repeated, and the 70B 1P/5D system has no knee on its grid.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anarchy.designs.ladder.columns import ARRIVALS, CELLS
from anarchy.estimate.columns import ATTEMPTS, CURVES, LADDER_CURVES
from anarchy.estimate.frames import write
from anarchy.ground.layout import Layout

QUICK = (2, 8, 16, 32, 64, 96, 128, 192, 256, 384)
FULL = (1, 2, 4, 8, 16, 32, 64, 96, 112, 128, 160, 192, 256, 384, 512)
SYSTEMS: tuple[dict[str, Any], ...] = (
    {"model": "nemotron-4-340b", "title": "Nemotron-4-340B", "topology": "1p2d", "pool": 2, "dilation": 2.0,
     "level": 14.2, "knee": 101.0, "growth": 2.4},
    {"model": "llama-3.1-70b", "title": "Llama-3.1-70B", "topology": "1p2d", "pool": 2, "dilation": 3.0,
     "level": 7.4, "knee": 118.0, "growth": 2.0},
    {"model": "llama-3.1-70b", "title": "Llama-3.1-70B", "topology": "1p5d", "pool": 5, "dilation": 3.0,
     "level": 9.8, "knee": None, "growth": 0.0},
)  # fmt: skip
VERSIONS = {"dynamo": "1.5.1", "anarchy": "0.1.0", "python": "3.11.2", "vllm": None}
DEPLOYMENT = {
    "routing_set": "static", "measuring_s": 150.0, "gpus": 0, "predicted_s": 220.0, "sittings": 1,
    "start_s": 6.1, "cells_s": 221.0, "stop_s": 1.2, "wall_s": 228.3,
    "routing_test": {"ok": True, "p_value": 0.41},
}  # fmt: skip
DEVIATIONS = ["decode workers publish no KV events, so overlap is unknown to the router"]
WORKLOADS = {"unique": "unique prompts", "templates": "5 prompt templates"}


def write_results(
    root: Path,
    *,
    tier: str = "quick",
    grid: tuple[int, ...] = QUICK,
    workloads: tuple[str, ...] = ("unique",),
    launches: int = 1,
    experiment: str = "equilibrium",
    engine: str = "simulated",
) -> Layout:
    """Write the folders of all three systems under ``root/<tier>`` and return their layout."""
    layout = Layout(root / tier)
    for place, shape in enumerate(SYSTEMS):
        rng = np.random.default_rng(place)
        bad = {} if place else {("unique", 192): "client_bound"}
        common = {**common_facts(shape, experiment, tier, engine), "policy": "static"}
        cells = pd.DataFrame(
            [
                {**common, **_cell(shape, name, C, launches, bad.get((name, C), ""), rng)}
                for name in workloads
                for C in grid
            ]
        )
        attempts = _attempts(cells, launches, rng, retried=place == 1)
        folder = layout.estimates(experiment, shape["model"], shape["topology"])
        folder.mkdir(parents=True, exist_ok=True)
        write_table(cells, CELLS, folder / "cells.parquet")
        write_table(attempts, ATTEMPTS, folder / "attempts.parquet")
        curves = pd.concat([_curve_rows(shape, cells, launch, rng) for launch in range(1, launches + 1)])
        write_table(curves, LADDER_CURVES, folder / "curves.parquet")
        write_table(pd.DataFrame(_arrivals(cells)), ARRIVALS, folder / "arrivals.parquet")
        info = _info(common, shape, cells, workloads, launches, grid)
        (folder / "system.json").write_text(json.dumps(info, indent=2, allow_nan=False), encoding="utf-8")
    return layout


def write_table(frame: pd.DataFrame, schema: Any, path: Path) -> None:
    """Write rows as Parquet of a schema; columns that they lack hold nothing."""
    write(frame.reindex(columns=schema.names), schema, path)


def common_facts(
    shape: dict[str, Any], experiment: str, tier: str, engine: str = "simulated"
) -> dict[str, Any]:
    """What every row of a system and its document say."""
    return {
        "experiment": experiment, "tier": tier, "model": shape["model"], "model_title": shape["title"],
        "topology": shape["topology"], "topology_title": shape["topology"].upper().replace("P", "P/"),
        "engine": engine, "dilation": shape["dilation"],
    }  # fmt: skip


def document_facts(
    common: dict[str, Any], shape: dict[str, Any], launches: int, workloads: tuple[str, ...]
) -> dict[str, Any]:
    """What the documents of E2 to E4 share."""
    return {
        **common,
        "pool": shape["pool"],
        "versions": VERSIONS,
        "deployments": [{**DEPLOYMENT, "trial": trial} for trial in range(1, launches + 1)],
        "deviations": DEVIATIONS,
        "workloads": {
            name: {"title": WORKLOADS[name], "curves": {}, "notes": [], "rise": {}} for name in workloads
        },
    }


def write_attempts(folder: Path, shape: dict[str, Any], cells: list[str]) -> None:
    """One valid attempt of each cell named, and no curves."""
    rows = [
        {"model": shape["model"], "topology": shape["topology"], "policy": name.partition("_")[2], "trial": 1,
         "cell": name, "workload": name.partition("-")[0], "concurrency": 192, "attempt": 1, "valid": True,
         "reasons": "", "n_requests": 5000, "started_at": f"2026-01-02T10:{place:02d}:00Z",
         "duration_wall_s": 210.0, "client_cpu_share": 0.4, "host_cpu_share": 0.5, "loop_lag_p99_s": 0.001,
         "error_share": 0.0, "drift": None, "windows": 2400}
        for place, name in enumerate(cells)
    ]  # fmt: skip
    write_table(pd.DataFrame(rows), ATTEMPTS, folder / "attempts.parquet")
    write_table(pd.DataFrame(), CURVES, folder / "curves.parquet")


def spoil(layout: Layout, model: str, topology: str, experiment: str = "equilibrium") -> None:
    """Make a system one of which no cell counts: rows and document without any number, as estimated then."""
    folder = layout.estimates(experiment, model, topology)
    cells = pd.read_parquet(folder / "cells.parquet")
    labels = [
        *("experiment", "tier", "model", "model_title", "topology", "topology_title", "policy", "engine"),
        *("dilation", "workload", "workload_title", "concurrency"),
    ]
    cells = cells[labels].assign(valid=False, reasons="errors, short", n_launches=0)
    write_table(cells, CELLS, folder / "cells.parquet")
    attempts = pd.read_parquet(folder / "attempts.parquet").assign(valid=False, reasons="errors,short")
    write_table(attempts, ATTEMPTS, folder / "attempts.parquet")
    curves = pd.read_parquet(folder / "curves.parquet").iloc[:0]
    write_table(curves, LADDER_CURVES, folder / "curves.parquet")
    write_table(pd.DataFrame(), ARRIVALS, folder / "arrivals.parquet")
    info = json.loads((folder / "system.json").read_text(encoding="utf-8"))
    for found in info["workloads"].values():
        nothing = dict.fromkeys(found["knee"]) | {
            "exists": False,
            "level": 0.95,
            "replicates": 10_000,
            "note": "",
        }
        found |= {"plateau": None, "deepest": None, "rise": None, "curves": {}, "knee": nothing}
    (folder / "system.json").write_text(json.dumps(info), encoding="utf-8")


def _by_depth(knee: float | None, grid: list[int]) -> list[dict[str, Any]]:
    """A knee that moves a little with the depth, and none where the grid ends before it."""
    return [
        {"deepest": C, "knee": None, "lo": None, "hi": None}
        if knee is None or knee > C
        else {"deepest": C, "knee": knee * (0.98 + 0.01 * place), "lo": 0.95 * knee, "hi": 1.06 * knee}
        for place, C in enumerate(grid)
    ]


def _cell(
    shape: dict[str, Any], workload: str, C: int, launches: int, reasons: str, rng: np.random.Generator
) -> dict[str, Any]:
    knee, m = shape["knee"], shape["pool"]
    past = max(1.0, C / knee) if knee else 1.0
    windows = max(4, round(900 * min(C, 100) / 100 / m))
    regime = "artifact" if windows < 30 or m > C else "growth" if knee and knee < C else "plateau"
    base = (
        shape["level"] * (0.62 if regime == "artifact" else 1.0) * (0.9 if workload == "templates" else 1.0)
    )
    poa = base * past ** shape["growth"] * math.exp(rng.normal(0, 0.02))
    routing = 1.02 + 0.04 * math.log(C + 1) * rng.uniform(0.8, 1.2)
    freezing = 1.5 * past**1.1
    spread = 0.25 / math.sqrt(windows / 10)
    ttft = (0.031 + 0.0004 * min(C, knee or C)) * past**1.8
    numbers = {
        "poa_hat": poa, "poa_hat_lo": poa * (1 - spread), "poa_hat_hi": poa * (1 + 1.3 * spread),
        "poa_cal": routing, "poa_cal_lo": max(1.0, routing * (1 - spread / 4)),
        "poa_cal_hi": routing * (1 + spread / 4),
        "dynamics": poa / routing / freezing, "routing": routing, "freezing": freezing,
        "median_window": poa * 0.9, "p90_window": poa * 1.6,
        "ttft_p50": ttft, "ttft_p50_lo": ttft * 0.97, "ttft_p50_hi": ttft * 1.03,
        "ttft_p99": ttft * 2.1, "ttft_p99_lo": ttft * 1.9, "ttft_p99_hi": ttft * 2.5,
        "itl_mean": 0.006 + 0.00002 * min(C, 140), "itl_mean_lo": 0.0059 + 0.00002 * min(C, 140),
        "itl_mean_hi": 0.0061 + 0.00002 * min(C, 140),
        "throughput_rps": 1.9 * min(C, knee or C), "throughput_rps_lo": 1.85 * min(C, knee or C),
        "throughput_rps_hi": 1.95 * min(C, knee or C), "throughput_tps": 1.9 * 64 * min(C, knee or C),
        **_step(shape, C),
    }  # fmt: skip
    return {
        "workload": workload, "workload_title": WORKLOADS[workload], "concurrency": C, "n_launches": launches,
        "n_requests": None if reasons else windows * m + 1, "n_windows": None if reasons else windows,
        **{name: None if reasons else value for name, value in numbers.items()},
        "interval_kind": None if reasons else "across-launches" if launches >= 3 else "within-run",
        "block_length": None if reasons else 7.5, "regime": None if reasons else regime,
        "valid": not reasons, "reasons": reasons, "error_share": None if reasons else 0.0,
    }  # fmt: skip


STEPPED = 64
"""C at which the users of the 340B system march in step."""
STEP_S = 0.035


def _step(shape: dict[str, Any], C: int) -> dict[str, Any]:
    marched = STEPPED == C and shape["model"].startswith("nemotron")
    return {
        "step_s": STEP_S, "arrivals_dispersion": 0.9 * C if marched else 1.0 + 0.002 * C,
        "completions_dispersion": 0.8 * C if marched else 1.0, "in_step_from": 2.2, "in_step": marched,
    }  # fmt: skip


def _arrivals(cells: pd.DataFrame) -> list[dict[str, Any]]:
    """Of the cell whose index is largest, bursts every twelve bins; of one beside it, a few in each."""
    rows = []
    for workload, its in cells[cells["valid"]].groupby("workload", sort=False):
        most = its.sort_values("arrivals_dispersion").iloc[-1]
        beside = its[its["concurrency"] < most["concurrency"]].iloc[-1]
        for cell, every in ((most, 12 if most["in_step"] else 1), (beside, 1)):
            for place in range(60):
                sent = int(cell["concurrency"]) * every // 12 if place % every == 0 else 0
                rows.append({
                    "workload": workload, "concurrency": cell["concurrency"], "launch": 1,
                    "arrivals_dispersion": cell["arrivals_dispersion"], "in_step": cell["in_step"],
                    "t": STEP_S * place, "seconds": STEP_S, "n_sent": sent,
                    "ttft_mean": 0.04 + 0.002 * sent if sent else None,
                    "ttft_max": 0.05 + 0.003 * sent if sent else None,
                })  # fmt: skip
    return rows


ALPHA, BETA = 0.029, 0.0008
SLOPES = {"1": 0.0008, "40": 0.002, "90": 0.006}


def _full(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    bends = (slope * np.maximum(0.0, x - float(knot)) for knot, slope in SLOPES.items())
    return np.asarray(ALPHA + sum(bends))


def _curve_rows(
    shape: dict[str, Any], cells: pd.DataFrame, launch: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Mean latency at the loads of each cell that counts: around C / m, flat inside a cell."""
    rows = []
    for cell in cells[cells["valid"]].to_dict("records"):
        C, mean = cell["concurrency"], max(1.0, cell["concurrency"] / shape["pool"])
        loads = np.unique(np.maximum(1, np.round(mean + math.sqrt(mean) / 3 * np.arange(-3, 4))))
        weight = np.exp(-((loads - mean) ** 2) / mean)
        rows.append(
            pd.DataFrame(
                {
                    "workload": cell["workload"], "launch": launch, "concurrency": C,
                    "reference": 8 <= C <= 64, "x": loads,
                    "latency": _full(np.array([mean])) * rng.uniform(0.97, 1.03, loads.size),
                    "weight": weight / weight.sum(), "n": np.ceil(900 * weight / weight.sum()).astype(int),
                }
            )
        )  # fmt: skip
    return pd.concat(rows)


def _attempts(cells: pd.DataFrame, launches: int, rng: np.random.Generator, retried: bool) -> pd.DataFrame:
    rows = []
    for trial in range(1, launches + 1):
        for place, cell in enumerate(cells.to_dict("records")):
            again = retried and place == 3 and trial == 1
            tries = (
                [cell["reasons"]] * 2
                if cell["reasons"]
                else (["errors,worker_silent", ""] if again else [""])
            )
            for attempt, reasons in enumerate(tries, start=1):
                rows.append({
                    "model": cell["model"], "topology": cell["topology"], "policy": "static", "trial": trial,
                    "cell": f"{cell['workload']}-c{cell['concurrency']:04d}", "workload": cell["workload"],
                    "concurrency": cell["concurrency"], "attempt": attempt, "valid": not reasons,
                    "reasons": reasons, "n_requests": 640 + place,
                    "started_at": f"2026-01-0{trial}T10:{place:02d}:00Z",
                    "duration_wall_s": 21.5 + place, "client_cpu_share": float(rng.uniform(0.1, 0.6)),
                    "host_cpu_share": 0.97 if reasons == "client_bound" else float(rng.uniform(0.2, 0.6)),
                    "loop_lag_p99_s": 0.0012, "error_share": 0.02 if "errors" in reasons else 0.0,
                    "drift": None if place == 0 else 1.08, "windows": 320,
                })  # fmt: skip
    return pd.DataFrame(rows)


def _info(
    common: dict[str, Any],
    shape: dict[str, Any],
    cells: pd.DataFrame,
    workloads: tuple[str, ...],
    launches: int,
    grid: tuple[int, ...],
) -> dict[str, Any]:
    return {
        **common,
        "design": "ladder",
        "policy": "static",
        "pool": shape["pool"],
        "workloads": {
            name: _workload(shape, cells[cells["workload"] == name], name, grid, launches)
            for name in workloads
        },
        "versions": VERSIONS,
        "deployments": [{**DEPLOYMENT, "trial": trial} for trial in range(1, launches + 1)],
        "deviations": DEVIATIONS,
    }


def _workload(
    shape: dict[str, Any], cells: pd.DataFrame, name: str, grid: tuple[int, ...], launches: int
) -> dict[str, Any]:
    knee = shape["knee"]
    level = cells[(cells["regime"] == "plateau") & cells["valid"]]
    deepest = cells[cells["valid"]].iloc[-1]
    mean = float(np.exp(np.log(level["poa_hat"].astype(float)).mean()))
    rise = float(deepest["poa_hat"]) / mean
    first = next((C for C in grid if knee and knee <= C), None)
    return {
        "title": WORKLOADS[name],
        "knee": {
            "exists": knee is not None, "knee": knee, "lo": knee and knee * 0.9, "hi": knee and knee * 1.12,
            "first_post_knee": first, "slope_before": 0.03, "slope_after": shape["growth"],
            "kneedle": first and float(first),
            "slo_crossing": first, "growth": 4.0, "improvement": 0.9, "p_value": 0.001, "level": 0.95,
            "replicates": 10_000,
            "note": "" if knee else "one straight line fits as well as two",
        },
        "knee_by_depth": _by_depth(knee, [C for C in grid if C >= 8][4:]),
        "plateau": {
            "poa_hat": mean, "lo": mean * 0.96, "hi": mean * 1.05, "c_from": int(level["concurrency"].min()),
            "c_to": int(level["concurrency"].max()), "n_cells": len(level),
            "cells_lo": float(level["poa_hat"].min()), "cells_hi": float(level["poa_hat"].max()),
        },
        "deepest": {
            "concurrency": int(deepest["concurrency"]), "poa_hat": float(deepest["poa_hat"]),
            "lo": float(deepest["poa_hat_lo"]), "hi": float(deepest["poa_hat_hi"]),
            "n_launches": int(deepest["n_launches"]), "interval_kind": str(deepest["interval_kind"]),
        },
        "rise": {"value": rise, "lo": rise * 0.93, "hi": rise * 1.08},
        "curves": {
            str(launch): {
                "affine": {"alpha": ALPHA * (1 + 0.02 * launch), "beta": BETA, "kappa": 0.0,
                           "quality": {"r2": 0.345, "r2_within": 0.03, "rmse": 0.0061, "n_rows": 1134,
                                       "n_cells": 4}},
                "full": {"c0": ALPHA, "slopes": SLOPES,
                         "quality": {"r2": 0.967, "r2_within": 0.21, "rmse": 0.0231, "n_rows": 7788,
                                     "n_cells": 10}},
            }
            for launch in range(1, launches + 1)
        },
        "regimes": [
            [int(row["concurrency"]), row["regime"]] for row in cells[cells["valid"]].to_dict("records")
        ],
        "notes": [],
        "growth": None,
    }  # fmt: skip
