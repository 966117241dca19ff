"""Traces of a made-up closed loop for the tests of the estimator: a ladder of cells, spoiled on purpose."""

from __future__ import annotations

import heapq
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anarchy.ground.layout import MANIFEST_FILE, TRACE_FILE

GRID = (8, 16, 32, 64, 96, 128)


def closed_loop(
    C: int, m: int = 2, n: int = 600, seed: int = 0, saturation: int = 40, apart_s: float = 0.001
) -> pd.DataFrame:
    """Requests of C users on m decode workers; latency rises with the load, steeply above `saturation`.

    Users start `apart_s` after one another, and hardly leave their places: a request takes about 0.35 s.
    `t_end` is unknown, as in a trace of an earlier release: the last token is the end.
    """
    rng = np.random.default_rng([seed, C])
    free = [(apart_s * user, user) for user in range(C)]
    heapq.heapify(free)
    ends: list[list[float]] = [[] for _ in range(m)]
    rows = []
    for i in range(n):
        intended, user = heapq.heappop(free)
        sent = intended + 1e-4
        for worker in ends:
            while worker and worker[0] <= sent:
                heapq.heappop(worker)
        chosen = min(range(m), key=lambda j: (len(ends[j]), rng.random()))
        if rng.random() < 0.2:
            chosen = int(rng.integers(m))
        x = len(ends[chosen]) + 1
        ttft = (0.02 + 0.002 * x + 0.02 * max(0, x - saturation)) * rng.lognormal(0.0, 0.1)
        last = sent + ttft + 0.3
        heapq.heappush(ends[chosen], last)
        heapq.heappush(free, (last + 1e-4, user))
        rows.append((f"r{i:06d}", user, intended, sent, sent + ttft, last, chosen))
    names = ("request_id", "user", "t_intended", "t_sent", "t_first_token", "t_last_token", "decode_worker")
    table = pd.DataFrame(rows, columns=list(names))
    edge = n // 20
    phase = np.array(["measure"] * n, dtype=object)
    phase[:edge], phase[-edge:] = "warmup", "cooldown"
    return table.assign(
        template=-1,
        input_tokens=128,
        output_tokens=64,
        cached_tokens=pd.array([None] * n, dtype="Int32"),
        prefill_worker=0,
        policy="static",
        tau=0.0,
        omega=1.0,
        regime="",
        t_end=np.nan,
        phase=phase,
        status="ok",
    )


def in_step(
    C: int, m: int = 2, rounds: int = 40, each_s: float = 0.002, jitter_s: float = 0.0
) -> pd.DataFrame:
    """C users who send together and whose answers end together, `rounds` times, round robin over m workers.

    All prompts of a round are one batch: TTFT 20 ms and `each_s` a prompt, then 0.3 s of decoding. With
    `jitter_s` users come one after the other within that time, and all get their tokens together still.
    """
    rounds_s = 0.02 + each_s * C + 0.3
    offsets = np.linspace(0.0, jitter_s, C) if jitter_s else np.zeros(C)
    starts = np.repeat(np.arange(rounds) * rounds_s, C)
    sent = starts + np.tile(offsets, rounds)
    first = starts + 0.02 + each_s * C
    n = C * rounds
    return pd.DataFrame(
        {
            "request_id": [f"r{i:06d}" for i in range(n)],
            "user": np.tile(np.arange(C), rounds),
            "t_intended": sent,
            "t_sent": sent,
            "t_first_token": first,
            # Before the next round begins, however its start was rounded.
            "t_last_token": first + 0.299,
            "t_end": np.nan,
            "decode_worker": np.tile(np.arange(C) % m, rounds),
            "template": -1,
            "input_tokens": 128,
            "output_tokens": 64,
            "cached_tokens": pd.array([None] * n, dtype="Int32"),
            "prefill_worker": 0,
            "policy": "static",
            "tau": 0.0,
            "omega": 1.0,
            "regime": "",
            "phase": np.where(starts < 2 * rounds_s - 1e-9, "warmup", "measure"),
            "status": "ok",
        }
    )


def write_trace(folder: Path, table: pd.DataFrame, **changes: Any) -> Path:
    """A trace folder as a stranger would write it: the least manifest, no seal, pandas' own types."""
    folder.mkdir(parents=True)
    table.to_parquet(folder / TRACE_FILE, index=False)
    least: dict[str, Any] = {
        "cell": folder.name,
        "model": "toy",
        "topology": "1p2d",
        "policy": "static",
        "concurrency": 32,
        "n_workers": {"prefill": 1, "decode": 2},
        "launch": 1,
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(least | changes))
    return folder


def write_ladder(folder: Path, grid: tuple[int, ...] = GRID, launch: int = 1, **changes: Any) -> Path:
    """A whole ladder of cells."""
    for C in grid:
        table = closed_loop(C, seed=launch)
        write_trace(folder / f"c{C:04d}", table, concurrency=C, launch=launch, **changes)
    return folder
