"""Estimates of game 2 from made-up cells, as `anarchy system` writes them: caches that are really run.

Two prefill workers hold three prompts each and forget what was asked for longest ago. Under affinity a
template has one home, under balance workers take turns. What is not found takes 20 ms longer to the first
token. The cell of 8 templates, Zipf 1, under balance in launch 1 is not counted (`not_steady`).
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from anarchy.config import Limits, Policy, Workload
from anarchy.designs.cache.columns import TABLES
from anarchy.designs.cache.estimate import estimate
from anarchy.designs.cache.tier import CacheTier
from anarchy.designs.registry import design_of
from anarchy.designs.system import SystemEstimate
from anarchy.engines.profiles import load_profile
from anarchy.estimate.columns import ATTEMPTS
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.frames import frame
from anarchy.estimate.grouping import Found
from anarchy.games.cache import zipf
from anarchy.ground.layout import PROJECT, Layout
from anarchy.routing.baselines.round_robin import RoundRobin
from anarchy.trace.schema import WorkerCount
from tests.helpers.condition_samples import UNIQUE, measured, pair, trace_of
from tests.helpers.synthetic_estimates import DEPLOYMENT, VERSIONS, common_facts, write_attempts

SHAPE: Final[dict[str, Any]] = {
    "model": "llama-3.1-70b",
    "title": "Llama-3.1-70B",
    "topology": "3p3d",
    "dilation": 1.0,
}
WORKERS: Final = 2
ROOM: Final = 3
BLOCKS: Final = 8
SHAREABLE: Final = 112
AFFINITY: Final = pair(0.0, 1.0)
BALANCE: Final = RoundRobin(name="dynamo-round-robin", title="Dynamo's round robin", way="builtin")
TIER: Final = CacheTier.model_validate(
    {
        "concurrency": [16],
        "launches": 1,
        "workloads": ["unique"],
        "timing": {"measure_s": 1, "measure_max_s": 1},
        "limits": {"num_gpu_blocks": ROOM * BLOCKS},
        "templates": [2, 4, 8],
        "skews": [0.0, 1.0],
        "affinity": AFFINITY.name,
        "balance": BALANCE.name,
    }
)
SETS: Final = TIER.blocks({"unique": UNIQUE})


def table_of(workload: Workload, policy: Policy, launch: int, n: int = 600) -> pd.DataFrame:
    """Requests of a working set under a policy."""
    rng = np.random.default_rng([workload.templates, launch])
    weights = zipf(workload.templates, workload.skew)
    asked = rng.choice(workload.templates, n, p=weights / weights.sum())
    worker = asked % WORKERS if policy is AFFINITY else np.arange(n) % WORKERS
    caches: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(WORKERS)]
    found = np.zeros(n, dtype=bool)
    for i, (template, at) in enumerate(zip(asked.tolist(), worker.tolist(), strict=True)):
        found[i] = template in caches[at]
        caches[at].pop(template, None)
        caches[at][template] = None
        if len(caches[at]) > ROOM:
            caches[at].popitem(last=False)
    ttft = np.where(found, 0.010, 0.030) * rng.uniform(0.98, 1.02, n)
    sent = 0.01 * np.arange(n)
    return pd.DataFrame(
        {
            "request_id": [f"r{i:06d}" for i in range(n)],
            "user": np.arange(n) % 16,
            "t_intended": sent,
            "t_sent": sent,
            "t_first_token": sent + ttft,
            "t_last_token": sent + ttft + 0.1,
            "t_end": sent + ttft + 0.1,
            "template": asked,
            "input_tokens": 128,
            "output_tokens": 64,
            "cached_tokens": np.where(found, SHAREABLE, 0),
            "prefill_worker": worker,
            "decode_worker": 0,
            "policy": policy.name,
            "tau": 0.0,
            "omega": 1.0,
            "regime": "",
            "phase": np.where(np.arange(n) < n // 3, "warmup", "measure"),
            "status": "ok",
        }
    )


def cells(launches: int = 1) -> list[MeasuredCell]:
    """Every working set under both policies."""
    return [
        _cell(workload, policy, launch)
        for policy in (AFFINITY, BALANCE)
        for workload in SETS
        for launch in range(1, launches + 1)
    ]


def _cell(workload: Workload, policy: Policy, launch: int) -> MeasuredCell:
    facts: dict[str, Any] = {"launch": launch, "concurrency": 16}
    trace = trace_of(
        table_of(workload, policy, launch),
        policy.name,
        engine="virtual",
        workload=workload.name,
        n_workers=WorkerCount(prefill=WORKERS, decode=1),
        **facts,
    )
    bad = policy is BALANCE and workload.name == "unique-s1-t8" and launch == 1
    return measured(
        trace,
        reason="not_steady" if bad else "",
        policy=policy,
        routing="cache",
        workload=workload,
        limits=Limits(num_gpu_blocks=ROOM * BLOCKS),
        **facts,
    )


def estimated(launches: int = 4, *, table: bool = True, tier: str = "quick") -> Found:
    """What the design makes of these cells; without a timing `table` as of an engine that follows none."""
    profile = load_profile(PROJECT / "data" / "profiles" / "llama-3.1-70b-tp4") if table else None
    head = common_facts(SHAPE, "cache", tier, "simulated in virtual time")
    return estimate(cells(launches), TIER, Method(n_workers=1, c_ref=64, seed=3, profile=profile), head)


def write_cache(root: Path, *, tier: str = "quick", launches: int = 4) -> Layout:
    """Write the folder of a pool of caches under ``root/<tier>``."""
    layout, found = Layout(root / tier), estimated(launches, tier=tier)
    system = {
        **common_facts(SHAPE, "cache", tier, "simulated in virtual time"),
        "design": "cache",
        "pool": 3,
        **found.facts,
        "versions": VERSIONS,
        "deployments": [{**DEPLOYMENT, "trial": trial} for trial in range(1, launches + 1)],
        "deviations": [],
    }
    folder = layout.estimates("cache", SHAPE["model"], SHAPE["topology"])
    tables = {**found.tables, "attempts": frame([], ATTEMPTS)}
    assert set(tables) == set(TABLES)
    SystemEstimate(design_of("cache"), tables, system).write(folder)
    write_attempts(folder, SHAPE, [f"{workload.name}-c0016_{AFFINITY.name}" for workload in SETS])
    (folder / "curves.parquet").unlink()
    return layout
