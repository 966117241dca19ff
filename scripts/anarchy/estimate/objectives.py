"""Requests within latency objectives, and what is left waiting: rates of a cell, while it was measured."""

from __future__ import annotations

import numpy as np

from anarchy.config.objectives import RATES
from anarchy.estimate.performance import THROUGHPUT_BINS, inter_token_latency
from anarchy.games.requests import FloatArray
from anarchy.trace.reader import CellTrace


def rates_within(trace: CellTrace, ttft_s: float, itl_s: float) -> FloatArray:
    """Requests a second that kept the TTFT objective, the ITL objective, and both (`RATES`), by when sent.

    Shape: (3, THROUGHPUT_BINS), spans of the measure phase from its first to its last sending; (3, 0) where
    fewer than two requests were sent. A request that failed keeps none; one of a single token has no time
    between tokens to keep, and keeps the ITL objective.

    Where nothing bounds the requests in flight, those of the whole trace count by when they keep it: TTFT by
    the first token, the others by the last one. What waits in a queue that grows is then no token of anybody.
    """
    sent = trace.column("t_sent")[trace.measured]
    span = float(np.ptp(sent)) if sent.size > 1 else 0.0
    if span <= 0.0:
        return np.empty((len(RATES), 0))
    rows = trace.equals("status", "ok") if trace.manifest.unbounded else trace.measured
    itl = inter_token_latency(trace)[rows]
    first_token, last_token = trace.column("t_first_token")[rows], trace.column("t_last_token")[rows]
    first = first_token - trace.column("t_intended")[rows] <= ttft_s
    then = ~(itl > itl_s)
    at = trace.column("t_sent")[rows]
    times = (first_token, last_token, last_token) if trace.manifest.unbounded else (at, at, at)
    edges = np.linspace(sent.min(), sent.max(), THROUGHPUT_BINS + 1)
    counts = [
        np.histogram(when[kept], edges)[0]
        for when, kept in zip(times, (first, then, first & then), strict=True)
    ]
    return np.array(counts, dtype=np.float64) * (THROUGHPUT_BINS / span)


def backlog(trace: CellTrace) -> float:
    """Requests a second by which those in flight grew while measuring; NaN where nothing was measured.

    About 0 where all are served, and in a closed loop.
    """
    sent = trace.column("t_sent")
    within = sent[trace.equals("phase", "measure")]
    if within.size < 2 or np.ptp(within) <= 0.0:
        return float("nan")
    ends = np.where(np.isnan(trace.ends), np.inf, trace.ends)
    first, last = (np.count_nonzero((sent <= at) & (ends > at)) for at in (within.min(), within.max()))
    return float(last - first) / float(np.ptp(within))
