"""An open loop in virtual time: requests that come by themselves, replayed to the last one's deadline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from anarchy.load.workload import UNIQUE_PROMPT
from anarchy.virtual.arrivals import Arrivals
from anarchy.virtual.outcome import Requests, known, trace_table
from anarchy.virtual.replayer import Job, Replayer


@dataclass(frozen=True, kw_only=True)
class OpenCell:
    """What one open loop replays. Times in model s.

    `trace`: the file of the arrivals (`arrivals.write_arrivals`), which cells under one load may share.
    Requests that come in `[measure_from_s, measure_until_s)` are of phase measure, those before of warm-up,
    those after of cool-down. `pools`, `engines`, `router`, `kv_event_lag_s`, `labels`: as of
    `cell.VirtualCell`.
    """

    trace: Path
    arrivals: Arrivals
    measure_from_s: float = 0.0
    measure_until_s: float = math.inf
    deadline_s: float
    pools: tuple[int, int]
    engines: tuple[Mapping[str, Any], Mapping[str, Any]]
    router: Mapping[str, Any] | None
    labels: Mapping[str, Any]
    kv_event_lag_s: float = 0.0


@dataclass(frozen=True)
class OpenOutcome:
    """The trace of an open loop, every request in it, and the wall seconds of the library."""

    table: pa.Table
    replay_s: float


def replay_open(cell: OpenCell, replayer: Replayer) -> OpenOutcome:
    """Replay an open loop until the last request's deadline has passed.

    One that takes longer than its deadline is a `timeout`. Its worker goes on with it, and what comes of it
    after the replay is unknown: null, and worker -1. Raises ReplayError as `Replayer.run`, and UserError
    where a worker cannot hold a request.
    """
    arrivals = cell.arrivals
    first_s = float(arrivals.at_s[0])
    told = replayer.run(
        Job(
            trace=cell.trace,
            prefill=cell.engines[0],
            decode=cell.engines[1],
            router=cell.router,
            kv_event_lag_s=cell.kv_event_lag_s,
            prefill_workers=cell.pools[0],
            decode_workers=cell.pools[1],
            until_s=float(arrivals.at_s[-1]) - first_s + cell.deadline_s,
            trace_block_size=arrivals.block_size,
        )
    )
    requests = Requests.of(told.columns)
    requests.check_served()
    return OpenOutcome(_table(cell, requests, first_s), told.replay_s)


def _table(cell: OpenCell, requests: Requests, first_s: float) -> pa.Table:
    """All arrivals; the library's clock begins with the first of them."""
    arrivals, at = cell.arrivals, requests.user
    sent = arrivals.at_s

    def spread(values: Any, missing: float) -> Any:
        """What is told of some requests, as a column of all."""
        column = np.full(len(arrivals), missing, dtype=np.asarray(values).dtype)
        column[at] = values
        return column

    end = spread(requests.end + first_s, math.inf)
    cached = spread(requests.cached_tokens, -1)
    phase = np.where(sent < cell.measure_from_s, "warmup", "measure")
    return trace_table(
        {
            "request_id": [f"{request:07d}" for request in range(len(arrivals))],
            "user": np.arange(len(arrivals)),
            "template": (
                np.full(len(arrivals), UNIQUE_PROMPT) if arrivals.templates is None else arrivals.templates
            ),
            "t_intended": sent,
            "t_sent": sent,
            "t_first_token": known(spread(requests.first_token + first_s, math.nan)),
            "t_last_token": known(spread(requests.last_token + first_s, math.nan)),
            "t_end": known(np.where(np.isfinite(end), end, math.nan)),
            "input_tokens": arrivals.input_tokens,
            "output_tokens": spread(requests.output_tokens, 0),
            "cached_tokens": pa.array(cached, pa.int32(), mask=cached < 0),
            "prefill_worker": spread(requests.prefill_worker, -1),
            "decode_worker": spread(requests.decode_worker, -1),
            "phase": np.where(sent < cell.measure_until_s, phase, "cooldown"),
            "status": np.where(end - sent > cell.deadline_s, "timeout", "ok"),
        },
        cell.labels,
    )
