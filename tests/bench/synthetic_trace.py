"""Sealed cells of any size, made up: a closed loop over m decode workers whose latency rises with their load.

It is no simulation of a queue. What an estimate has to work on is there all the same: each user sends again
when the last answer ended, so the requests in flight add up to the concurrency; the router's preference
drifts, so the loads of the workers vary; TTFT follows the load that a request meets, with noise; the phases,
the identifiers, the file and its seal are those of a cell that was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anarchy.trace.schema import TRACE_SCHEMA, GateResult, Manifest, WorkerCount
from anarchy.trace.writer import seal

UNMEASURED = 0.05
"""Requests of warm-up and of cool-down each, as a share of the measured ones."""
TIMEOUTS = 3
"""Requests of the warm-up that never end."""
ITL_S = 0.0068
NOISE = 0.15


@dataclass(frozen=True)
class CellSpec:
    """What a made-up cell holds; `measured` requests are of phase measure and end well."""

    measured: int
    concurrency: int
    workers: int = 5
    seed: int = 0


def write_cell(folder: Path, spec: CellSpec) -> None:
    """Make a cell up, in the order of sending, and seal it."""
    columns = _closed_loop(spec)
    folder.mkdir(parents=True)
    duration = float(np.nanmax(columns["t_last_token"]))
    seal(folder, pa.table(_as_arrow(columns), schema=TRACE_SCHEMA), _manifest(folder.name, spec, duration))


def latency(load: Any) -> Any:
    """Time to first token that a load on a worker means, s: affine, and steeper from 25 requests on."""
    return 0.02 + 0.0015 * load + 0.004 * np.maximum(0.0, load - 25)


def _closed_loop(spec: CellSpec) -> dict[str, Any]:
    """The columns that differ between requests, in the order of sending."""
    rng = np.random.default_rng([spec.seed, spec.concurrency])
    edge = int(UNMEASURED * spec.measured)
    total = spec.measured + 2 * edge
    shape = (spec.concurrency, int(1.02 * total / spec.concurrency) + 50)
    tokens = rng.integers(45, 84, shape)
    noise = np.exp(rng.normal(0.0, NOISE, shape))
    delay = rng.exponential(1e-4, shape)
    length = noise * latency(spec.concurrency / spec.workers) + tokens * ITL_S
    ends = rng.uniform(0.0, 0.5, shape[0])[:, None] + np.cumsum(delay + length, axis=1)
    sent = ends - length
    first = np.argsort(sent, axis=None)[:total]
    user, turn = np.unravel_index(first, shape)
    t_sent, t_last = sent.ravel()[first], ends.ravel()[first]
    worker = _route(rng, t_sent, spec.workers)
    met = latency(_met_loads(t_sent, t_last, worker, spec.workers) + 1) * noise.ravel()[first]
    t_first = t_sent + np.minimum(met, 0.9 * (t_last - t_sent))
    t_end = t_last.copy()
    t_first[:TIMEOUTS] = t_last[:TIMEOUTS] = np.nan
    phase = np.full(total, "measure", dtype=object)
    phase[:edge], phase[total - edge :] = "warmup", "cooldown"
    return {
        "user": user,
        "turn": turn,
        "t_intended": t_sent - delay.ravel()[first],
        "t_sent": t_sent,
        "t_first_token": t_first,
        "t_last_token": t_last,
        "t_end": t_end,
        "output_tokens": tokens.ravel()[first],
        "decode_worker": worker,
        "phase": phase,
        "status": np.where(np.isnan(t_last), "timeout", "ok").astype(object),
    }


def _route(rng: np.random.Generator, t_sent: Any, workers: int) -> Any:
    """Decode worker of each request; each is preferred in its turn, with a period of a minute."""
    angle = 2 * np.pi * (t_sent[:, None] / 60.0 + np.arange(workers) / workers)
    reach = np.cumsum(1.0 + 0.3 * np.sin(angle), axis=1)
    return (rng.random(t_sent.size)[:, None] * reach[:, -1:] > reach).sum(axis=1)


def _met_loads(t_sent: Any, t_last: Any, worker: Any, workers: int) -> Any:
    """Requests in flight on the chosen worker when each request is sent; `t_sent` ascends."""
    met = np.empty(t_sent.size, dtype=np.int64)
    for j in range(workers):
        here = worker == j
        begun = np.arange(np.count_nonzero(here))
        met[here] = begun - np.searchsorted(np.sort(t_last[here]), t_sent[here], side="right")
    return met


def _as_arrow(columns: dict[str, Any]) -> dict[str, Any]:
    """Every column of a trace; NaN becomes null, identifiers look like the load client's."""
    rows = len(columns["t_sent"])
    made = {name: pa.array(values, from_pandas=True) for name, values in columns.items()}
    digits = {"user": 4, "turn": 6}
    padded = [pc.utf8_lpad(made[n].cast(pa.string()), width, "0") for n, width in digits.items()]
    del made["turn"]
    same = {
        "template": -1,
        "input_tokens": 128,
        "cached_tokens": 0,
        "prefill_worker": 0,
        "policy": "static",
        "tau": 0.0,
        "omega": 1.0,
        "regime": "",
    }
    made |= {name: pa.repeat(value, rows) for name, value in same.items()}
    made["request_id"] = pc.binary_join_element_wise(*padded, "-")
    return {field.name: made[field.name].cast(field.type) for field in TRACE_SCHEMA}


def _manifest(cell: str, spec: CellSpec, duration: float) -> Manifest:
    return Manifest(
        cell=cell,
        model="made-up",
        topology=f"1p{spec.workers}d",
        policy="static",
        concurrency=spec.concurrency,
        n_workers=WorkerCount(prefill=1, decode=spec.workers),
        launch=0,
        workload="unique",
        duration_s=duration,
        gates=GateResult(valid=True),
    )
