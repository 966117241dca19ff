"""Estimates of W2 from made-up cells, as `anarchy system` writes them: users in step, and users who are not.

The cell of C = 96 of users in step under the second policy is not counted (`not_steady`). A second set, where
it is asked for, measures `unique` under the same policies: from C = 64 on its users wait three times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd

from anarchy.config import KvPolicy
from anarchy.designs.readings.columns import TABLES
from anarchy.designs.readings.estimate import estimate
from anarchy.designs.readings.tier import ReadingsTier
from anarchy.designs.registry import design_of
from anarchy.designs.system import SystemEstimate
from anarchy.engines.profiles import load_profile
from anarchy.estimate.columns import ATTEMPTS
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import Found
from anarchy.ground.layout import PROFILES, Layout
from tests.helpers.condition_samples import UNIQUE, constant, measured, pair, trace_of
from tests.helpers.ladder_samples import in_step
from tests.helpers.synthetic_estimates import DEPLOYMENT, SYSTEMS, VERSIONS, common_facts, write_attempts

GRID: Final = (1, 8, 16, 32, 64, 96, 192)
STEADY, SPREADING = pair(0.0, 1.0), pair(0.7, 1.0)
SETS: Final = ("builtin",)
LIMITED: Final = "limited"
IN_STEP: Final = UNIQUE.model_copy(
    update={"name": "in-step", "title": "users in step", "output_jitter": 0.0, "synchrony": "in-step"}
)
TIER: Final = ReadingsTier.model_validate(
    {
        "concurrency": GRID,
        "launches": 1,
        "workloads": ["in-step", "unique"],
        "timing": {"measure_s": 1, "measure_max_s": 1},
        "level_over": [64, 96],
        "curves": [
            {"workload": "in-step", "policy": STEADY.name, "title": "in step"},
            {"workload": "unique", "policy": STEADY.name, "title": "spread"},
        ],
    }
)


def cells(launches: int = 1, sets: Sequence[str] = SETS) -> list[MeasuredCell]:
    """Both workloads under both policies; of users in step tau changes nothing."""
    return [
        _cell(workload, policy, C, launch, name)
        for name in sets
        for workload in ((UNIQUE,) if name == LIMITED else (IN_STEP, UNIQUE))
        for policy in (STEADY, SPREADING)
        for C in GRID
        for launch in range(1, launches + 1)
    ]


def _cell(workload: Any, policy: KvPolicy, C: int, launch: int, routing: str) -> MeasuredCell:
    table = (
        in_step(C, rounds=max(4, 120 // C))
        if workload is IN_STEP
        else constant(
            C, launch, n=160, apart_s=0.35 / C, slower=3.0 if routing == LIMITED and C >= 64 else 1.0
        )
    )
    trace = trace_of(
        table, policy.name, launch=launch, concurrency=C, engine="virtual", workload=workload.name
    )
    uncounted = workload is IN_STEP and policy is SPREADING and C == 96
    reference = policy is STEADY
    facts: dict[str, Any] = {"launch": launch, "concurrency": C, "reference": reference, "routing": routing}
    return measured(trace, policy, workload=workload, reason="not_steady" if uncounted else "", **facts)


def estimated(
    launches: int = 1, tier: ReadingsTier = TIER, *, sets: Sequence[str] = SETS, **method: Any
) -> Found:
    """What the design makes of these cells."""
    plain = Method(
        n_workers=2, c_ref=64, replicates=100, seed=3, profile=load_profile(PROFILES / "llama-3.1-70b-tp4")
    )
    head = common_facts(SYSTEMS[1], "step", "why", "simulated in virtual time")
    return estimate(cells(launches, sets), tier, replace(plain, **method), head)


def write_readings(
    root: Path, *, tier: str = "quick", launches: int = 1, sets: Sequence[str] = SETS
) -> Layout:
    """Write the folder of one system under ``root/<tier>``."""
    layout, shape, found = Layout(root / tier), SYSTEMS[1], estimated(launches, sets=sets)
    common = {**common_facts(shape, "step", tier, "simulated in virtual time"), "dilation": 1.0}
    system = {
        **common,
        "design": "readings",
        "pool": 2,
        **found.facts,
        "versions": VERSIONS,
        "deployments": [
            {**DEPLOYMENT, "routing_set": name, "trial": trial}
            for name in sets
            for trial in range(1, launches + 1)
        ],
        "deviations": [],
    }
    folder = layout.estimates("step", shape["model"], shape["topology"])
    tables = {**found.tables, "attempts": frame([], ATTEMPTS)}
    tables = {name: _labelled(rows, common, name) for name, rows in tables.items()}
    SystemEstimate(design_of("readings"), tables, system).write(folder)
    write_attempts(folder, shape, [f"unique-c{C:04d}_{STEADY.name}" for C in GRID])
    (folder / "curves.parquet").unlink()
    return layout


def _labelled(rows: pd.DataFrame, common: dict[str, Any], name: str) -> pd.DataFrame:
    return (
        rows
        if name == "attempts"
        else rows.assign(**{k: v for k, v in common.items() if k in TABLES[name].names})
    )
