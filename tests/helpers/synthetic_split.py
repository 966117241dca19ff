"""Estimates of game 1 from made-up cells, as `anarchy system` writes them: what each split serves is known.

One prefill worker is slow to the first token from C = 128 on, one decode worker between tokens; every split
keeps both objectives at C = 32. The cell of 3P/3D at C = 128 in launch 1 is not counted (`not_steady`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from anarchy.config import Topology, Workload
from anarchy.designs.registry import design_of
from anarchy.designs.split.columns import TABLES
from anarchy.designs.split.estimate import estimate
from anarchy.designs.split.tier import SplitTier
from anarchy.designs.system import SystemEstimate
from anarchy.estimate.columns import ATTEMPTS
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import Found
from anarchy.ground.layout import Layout
from tests.helpers.condition_samples import UNIQUE, measured, trace_of
from tests.helpers.synthetic_estimates import DEPLOYMENT, VERSIONS, common_facts, write_attempts

SHAPE: Final[dict[str, Any]] = {
    "model": "llama-3.1-70b",
    "title": "Llama-3.1-70B",
    "topology": "1p5d",
    "dilation": 1.0,
}
GRID: Final = (32, 128)
SPLITS: Final = tuple(
    Topology(name=f"{P}p{6 - P}d", title=f"{P}P/{6 - P}D", prefill=P, decode=6 - P) for P in range(1, 6)
)
LONG: Final = UNIQUE.model_copy(update={"name": "short-long", "title": "long answers"})
TIER: Final = SplitTier.model_validate(
    {
        "concurrency": GRID,
        "launches": 1,
        "workloads": ["unique", "short-long"],
        "timing": {"measure_s": 1, "measure_max_s": 1},
        "slo": {"ttft_s": 0.5, "itl_s": 0.015},
        "slo_of": {"other": {"ttft_s": 1e-6, "itl_s": 1e-6}},
        "tie": 0.01,
        "moving": [{"workload": "unique", "concurrency": 128}, {"workload": "short-long", "concurrency": 32}],
    }
)


def table_of(prefill: int, decode: int, C: int, launch: int, n: int = 400) -> pd.DataFrame:
    """Requests of a split: 4.5 ms to the first token a user and prefill worker, 8 ms between tokens."""
    rng = np.random.default_rng([prefill, C, launch])
    ttft = 0.45 * C / 100 / prefill * rng.uniform(0.98, 1.02, n)
    itl = 0.008 * max(1.0, C / 60 / decode) * rng.uniform(0.98, 1.02, n)
    sent = np.arange(n) / (C / (ttft.mean() + 63 * itl.mean()))
    return pd.DataFrame(
        {
            "request_id": [f"r{i:06d}" for i in range(n)],
            "user": np.arange(n) % C,
            "t_intended": sent,
            "t_sent": sent,
            "t_first_token": sent + ttft,
            "t_last_token": sent + ttft + 63 * itl,
            "t_end": sent + ttft + 63 * itl,
            "template": -1,
            "input_tokens": 128,
            "output_tokens": 64,
            "cached_tokens": pd.array([None] * n, dtype="Int32"),
            "prefill_worker": np.arange(n) % prefill,
            "decode_worker": np.arange(n) % decode,
            "policy": "static",
            "tau": 0.0,
            "omega": 1.0,
            "regime": "",
            "phase": "measure",
            "status": "ok",
        }
    )


SHARED: Final = UNIQUE.model_copy(update={"name": LONG.name, "title": LONG.title, "templates": 5})
"""In the place of LONG: the lengths of UNIQUE with shared prefixes."""


def peers(launches: int = 1, other: Workload = LONG) -> dict[Topology, list[MeasuredCell]]:
    """Cells of every split."""
    return {
        topology: [
            _cell(topology, workload, C, launch)
            for workload in (UNIQUE, other)
            for C in GRID
            for launch in range(1, launches + 1)
        ]
        for topology in SPLITS
    }


def _cell(topology: Topology, workload: Workload, C: int, launch: int) -> MeasuredCell:
    table = table_of(topology.prefill, topology.decode, C, launch)
    trace = trace_of(table, launch=launch, concurrency=C, engine="virtual", workload=workload.name)
    bad = topology.name == "3p3d" and GRID[-1] == C and launch == 1
    facts: dict[str, Any] = {"launch": launch, "concurrency": C, "workload": workload}
    return measured(trace, reason="not_steady" if bad else "", **facts)


def estimated(topology: str = "1p5d", launches: int = 3, *, shared: bool = False, **head: Any) -> Found:
    """What the design makes of these cells, for one split."""
    cells = peers(launches, SHARED if shared else LONG)
    own = next(one for one in cells if one.name == topology)
    shape = {**SHAPE, "topology": topology}
    common = {**common_facts(shape, "split", "quick", "simulated in virtual time"), **head}
    return estimate(cells[own], TIER, Method(n_workers=own.decode, c_ref=64, seed=3), common, cells)


def write_split(root: Path, *, tier: str = "quick", launches: int = 3) -> Layout:
    """Write the folder of one split under ``root/<tier>``."""
    layout, found = Layout(root / tier), estimated(launches=launches, tier=tier)
    common = {**common_facts(SHAPE, "split", tier, "simulated in virtual time")}
    system = {
        **common,
        "design": "split",
        "pool": 5,
        **found.facts,
        "versions": VERSIONS,
        "deployments": [{**DEPLOYMENT, "trial": trial} for trial in range(1, launches + 1)],
        "deviations": [],
    }
    folder = layout.estimates("split", SHAPE["model"], SHAPE["topology"])
    tables = {**found.tables, "attempts": frame([], ATTEMPTS)}
    assert set(tables) == set(TABLES)
    SystemEstimate(design_of("split"), tables, system).write(folder)
    write_attempts(folder, SHAPE, [f"unique-c{C:04d}_static" for C in GRID])
    (folder / "curves.parquet").unlink()
    return layout
