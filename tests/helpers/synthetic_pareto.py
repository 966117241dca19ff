"""Plausible estimates of a sweep over 16 pairs (E4), written as `anarchy system` writes them; not measured.

At the lowest load only the reference pair is measured. The built-in way has no effect of omega; in the
pinned way one pair past the knee is not counted.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from anarchy.designs.pareto.columns import PAIRS, SPREAD
from anarchy.estimate.columns import LAUNCHES, QUANTITIES
from anarchy.ground.layout import Layout
from tests.helpers.synthetic_estimates import SYSTEMS, WORKLOADS, common_facts, document_facts, write_attempts
from tests.helpers.synthetic_staged import KNEE, bounded, estimated, policy, uncounted, write_frames

LEVELS: Final = (0.0, 0.3, 0.7, 1.0)
LOADS: Final = (("below", 0.5), ("saturated", 2.0))
LOW: Final = ("low", 0.25)
"""Only the reference pair is measured here."""
REPEATS: Final = 3


def write_pareto(
    root: Path,
    *,
    tier: str = "quick",
    experiment: str = "pareto",
    workloads: tuple[str, ...] = ("unique",),
    launches: int = 1,
    systems: slice = slice(1, 2),
) -> Layout:
    """Write the systems' folders under ``root/<tier>`` and return the layout."""
    layout = Layout(root / tier)
    for place, shape in enumerate(SYSTEMS[systems]):
        rng = np.random.default_rng(200 + place)
        common = common_facts(shape, experiment, tier)
        rows = pd.DataFrame(
            [
                _pair(common, workload, way, load, tau, omega, repeat, launches, rng)
                for workload in workloads
                for way in ("builtin", "pinned")
                for load in (LOW, *LOADS)
                for tau in LEVELS
                for omega in LEVELS
                if load != LOW or (tau, omega) == (0.0, 1.0)
                for repeat in range(1, (REPEATS if (tau, omega) == (0.0, 1.0) else 1) + 1)
            ]
        )
        spread = pd.DataFrame(
            [
                _spread(common, workload, way, load, factor, name, launches)
                for workload in workloads
                for way in ("builtin", "pinned")
                for load in LOADS
                for factor in ("pair", "tau", "omega")
                for name in (*QUANTITIES, "load_range")
            ]
        )
        each = pd.concat([rows.assign(condition=rows["load"], launch=k + 1) for k in range(launches)])
        folder = layout.estimates(experiment, shape["model"], shape["topology"])
        folder.mkdir(parents=True, exist_ok=True)
        write_frames(
            folder,
            {
                "pairs": (rows, PAIRS),
                "launches": (each[[name for name in LAUNCHES.names if name in each]], LAUNCHES),
                "spread": (spread, SPREAD),
            },
        )
        cells = [
            f"{row['workload']}-c{row['concurrency']:04d}_{row['policy']}" for row in rows.to_dict("records")
        ]
        write_attempts(folder, shape, cells)
        info = {
            **document_facts(common, shape, launches, workloads),
            "design": "pareto",
            "knee": KNEE,
            "knee_from": {"used": KNEE, "reason": ""},
            "c_ref": 64,
            "repeats": REPEATS,
            "loads": [
                {
                    "name": name,
                    "concurrency": round(times * KNEE),
                    "knee_times": times,
                    "reference_only": (name, times) == LOW,
                }
                for name, times in (LOW, *LOADS)
            ],
            "routing": {
                f"{way}-grid": {"reference": _name(way, 0.0, 1.0), "policies": []}
                for way in ("builtin", "pinned")
            },
        }
        (folder / "system.json").write_text(json.dumps(info, indent=2, allow_nan=False), encoding="utf-8")
    return layout


def _name(way: str, tau: float, omega: float) -> str:
    return f"{'kv' if way == 'builtin' else 'pinned'}-t{tau:g}-w{omega:g}"


def _pair(
    common: dict[str, Any],
    workload: str,
    way: str,
    load: tuple[str, float],
    tau: float,
    omega: float,
    repeat: int,
    launches: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    C = round(load[1] * KNEE)
    gain = 1 + 0.05 * tau + (0.0 if way == "builtin" else 0.1 * omega * (1 - tau))
    reference = (tau, omega) == (0.0, 1.0)
    row = {
        **common,
        "workload": workload,
        "workload_title": WORKLOADS[workload],
        "routing_set": f"{way}-grid",
        **policy(_name(way, tau, omega), "kv", way, tau, omega, reference=reference),
        "load": load[0],
        "knee_times": load[1],
        "concurrency": C,
        "repeat": repeat,
        **estimated(C, gain, launches, 0, rng),
        "front": repeat == 1 and tau <= 0.3,
        "front_share": 0.8 if tau <= 0.3 else 0.1,
    }
    if (way, load[0], tau, omega) == ("pinned", "saturated", 1.0, 1.0):
        return {**uncounted(row, "not_steady"), "front": False, "front_share": math.nan}
    return row


def _spread(
    common: dict[str, Any],
    workload: str,
    way: str,
    load: tuple[str, float],
    factor: str,
    quantity: str,
    launches: int,
) -> dict[str, Any]:
    high = load[1] > 1
    effect = high and (factor != "omega" or way == "pinned")
    mean = 3.0 if high else 1.02
    cv = 0.04 if effect else 0.004
    ratio = (
        {}
        if not high
        else {**bounded("variance_ratio", 44.0, 0.6), **bounded("variance_ratio_log", 9.0, 0.6)}
    )
    return {
        **common,
        "workload": workload,
        "workload_title": WORKLOADS[workload],
        "routing_set": f"{way}-grid",
        "way": way,
        "load": load[0],
        "knee_times": load[1],
        "concurrency": round(load[1] * KNEE),
        "factor": factor,
        "quantity": quantity,
        "n_levels": 16 if factor == "pair" else 4,
        "n_launches": launches,
        "n_repeats": REPEATS,
        "left_out": 0,
        "mean": mean,
        "lowest": mean * (1 - cv),
        "highest": mean * (1 + cv),
        "half_spread": mean * cv,
        "cv": cv,
        "cv_noise": 0.006,
        "noise": "repeats",
        "f": 4.4 if effect else 0.7,
        "df": 15,
        "df_noise": 2,
        "p_value": 0.0004 if effect else 0.61,
        "effect": effect,
        "cv_effect": cv if effect else 0.0,
        "cv_bound": cv * 1.6 + 0.004,
        "against_load": "below" if high else "",
        **ratio,
        "valid": True,
        "reasons": "",
    }
