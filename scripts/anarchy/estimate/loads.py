"""Requests in flight in a trace over time: on each decode worker, and in prefill."""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.estimate.game import requests_of
from anarchy.games.requests import FloatArray, loads
from anarchy.trace.reader import CellTrace

LOAD_STEP_S: Final = 0.25
"""Loads are looked at so often, model s; a request is in flight for longer."""


def sample_times(start: float, end: float, step: float) -> FloatArray:
    """Middles of equal spans of at most about `step` that fill start to end, s; none without a span."""
    count = round((end - start) / step)
    if count < 1:
        return np.empty(0)
    return np.asarray(start + (np.arange(count) + 0.5) * ((end - start) / count), dtype=np.float64)


def measured_times(trace: CellTrace) -> FloatArray:
    """Such times over the measure phase, from its first to its last sending."""
    sent = trace.column("t_sent")[trace.equals("phase", "measure")]
    return sample_times(float(sent.min()), float(sent.max()), LOAD_STEP_S) if sent.size else np.empty(0)


def worker_loads(trace: CellTrace, times: FloatArray) -> FloatArray:
    """Requests in flight on each decode worker, n_j(t) of the routing game. Shapes: (T,) -> (T, m)."""
    return loads(requests_of(trace), times).astype(np.float64)


def to_fullest(trace: CellTrace) -> FloatArray:
    """Whether each measured request went to the fullest decode worker: 1 or 0, in order of sending.

    The fullest has no fewer requests in flight than any other when this one is sent, and more than the
    emptiest; where all are equal there is none.
    """
    rows = np.flatnonzero(trace.measured & (trace.column("decode_worker") >= 0))
    load = worker_loads(trace, trace.column("t_sent")[rows])
    chosen = load[np.arange(rows.size), trace.column("decode_worker")[rows]]
    fullest = (chosen == load.max(axis=1)) & (chosen > load.min(axis=1))
    return np.asarray(fullest, dtype=np.float64)


def prefill_load(trace: CellTrace, times: FloatArray) -> FloatArray:
    """Requests that were sent and have no first token yet, all workers together. Shapes: (T,) -> (T,).

    A request that ended without a first token counts to its end, one without an end to the cell's.
    """
    sent = trace.column("t_sent")
    left = np.fmin(trace.column("t_first_token"), trace.ends)
    left = np.where(np.isnan(left), np.inf, left)
    came = np.searchsorted(np.sort(sent), times, side="left")
    return np.asarray(came - np.searchsorted(np.sort(left), times, side="right"), dtype=np.float64)
