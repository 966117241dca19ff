"""Cells of several policies, constant and staged, for the tests of the estimates; the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from anarchy.config import AdaptivePolicy, KvPolicy, Policy, Workload
from anarchy.config.loads import Stage
from anarchy.estimate.conditions import Method
from anarchy.estimate.deployments import MeasuredCell
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import TRACE_SCHEMA, GateResult, Manifest, StageSpan, WorkerCount
from tests.helpers.ladder_samples import closed_loop

STARTED = "2026-06-11T10:00:00.000+00:00"
METHOD = Method(n_workers=2, c_ref=64, knee=64, replicates=300, seed=3)
HEAD: dict[str, Any] = {"experiment": "e", "tier": "t", "model": "toy", "topology": "1p2d", "dilation": 1.0}
UNIQUE = Workload(
    name="unique",
    title="unique prompts",
    input_tokens=128,
    output_tokens=64,
    output_jitter=0.1,
    templates=0,
)
STATIC = KvPolicy(name="static", title="static", tau=0.0, omega=1.0)
ADAPTIVE = AdaptivePolicy(name="adaptive", title="adaptive")


def pair(tau: float, omega: float) -> KvPolicy:
    """A built-in policy of these parameters."""
    return KvPolicy(name=f"kv-t{tau:g}-w{omega:g}", title=f"{tau:g}, {omega:g}", tau=tau, omega=omega)


def trace_of(table: pd.DataFrame, policy: str = "static", **changes: Any) -> CellTrace:
    """A trace in memory; its folder is the current one."""
    columns = pa.Table.from_pandas(table.assign(policy=policy), preserve_index=False)
    ordered = columns.select(TRACE_SCHEMA.names).cast(TRACE_SCHEMA).sort_by("t_sent")
    facts: dict[str, Any] = {
        "cell": "cell",
        "model": "toy",
        "topology": "1p2d",
        "policy": policy,
        "concurrency": 32,
        "n_workers": WorkerCount(prefill=1, decode=2),
        "launch": 1,
        "started_at": STARTED,
        "gates": GateResult(valid=True),
    }
    return CellTrace(Path(), Manifest(**{**facts, **changes}), ordered)


def constant(C: int, seed: int = 1, *, slower: float = 1.0, **options: Any) -> pd.DataFrame:
    """A constant cell; `slower` stretches the time to the first token of every request."""
    table = closed_loop(C, seed=seed, **options)
    ttft = table["t_first_token"] - table["t_intended"]
    moved = (slower - 1.0) * ttft
    return table.assign(
        t_first_token=table["t_first_token"] + moved, t_last_token=table["t_last_token"] + moved
    )


def staged(
    grid: Sequence[int], seed: int = 1, *, slower: Sequence[float] | None = None, n: int = 600
) -> tuple[pd.DataFrame, tuple[StageSpan, ...]]:
    """Constant cells one after the other as one staged cell: a stage has ended when the next one begins."""
    parts, spans, start = [], [], 0.0
    for index, C in enumerate(grid):
        part = constant(C, seed + 100 * index, slower=(slower or [1.0] * len(grid))[index], n=n)
        for name in filter(lambda name: str(name).startswith("t_"), list(part)):
            part[name] += start
        part["request_id"] = f"s{index}-" + part["request_id"]
        part.loc[part["phase"] == "cooldown", "phase"] = "warmup"
        measured = part.loc[part["phase"] == "measure", "t_sent"]
        spans.append(
            StageSpan(f"s{index}", C, start, float(measured.min()) - 1e-5, float(measured.max()) + 1e-5)
        )
        parts.append(part)
        start = float(part["t_last_token"].max()) + 0.1
    return pd.concat(parts, ignore_index=True), tuple(spans)


def stages_of(grid: Sequence[int]) -> tuple[Stage, ...]:
    """The plan of such a cell."""
    return tuple(Stage(f"s{index}", C, 1.0, 10.0) for index, C in enumerate(grid))


def measured(trace: CellTrace | None, policy: Policy = STATIC, **changes: Any) -> MeasuredCell:
    """A cell as it is read back; without a trace, one that was not measured."""
    facts: dict[str, Any] = {
        "routing": "set",
        "policy": policy,
        "reference": policy.name == STATIC.name,
        "launch": 1,
        "workload": UNIQUE,
        "name": "cell",
        "concurrency": 32,
        "load": "",
        "stages": (),
        "repeat": 1,
        "trace": trace,
        "reason": "" if trace is not None else "not measured",
    }
    return MeasuredCell(**{**facts, **changes})


def staged_cell(
    grid: Sequence[int],
    policy: Policy = STATIC,
    *,
    launch: int = 1,
    seed: int | None = None,
    slower: Sequence[float] | None = None,
    regime: str = "",
    n: int = 600,
    **changes: Any,
) -> MeasuredCell:
    """A valid staged cell of one policy and launch."""
    table, spans = staged(grid, launch if seed is None else seed, slower=slower, n=n)
    trace = trace_of(
        table.assign(regime=regime), policy.name, launch=launch, concurrency=max(grid), stages=spans
    )
    facts = {"launch": launch, "stages": stages_of(grid), "concurrency": max(grid), **changes}
    return measured(trace, policy, **facts)


def rng_of(*parts: int) -> np.random.Generator:
    """Random numbers of their own for each place that asks."""
    return np.random.default_rng(list(parts))
