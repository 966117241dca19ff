"""Requests within latency objectives: rates of a cell, over the time that it was measured."""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.estimate.performance import THROUGHPUT_BINS, inter_token_latency
from anarchy.games.requests import FloatArray
from anarchy.trace.reader import CellTrace

PLAYERS: Final = ("within_ttft", "within_itl", "goodput")
"""What `rates_within` counts, in its order."""


def rates_within(trace: CellTrace, ttft_s: float, itl_s: float) -> FloatArray:
    """Requests a second that kept the TTFT objective, the ITL objective, and both, by when they were sent.

    Shape: (3, THROUGHPUT_BINS), spans of the measure phase from its first to its last sending; (3, 0) where
    fewer than two requests were sent. A request that failed keeps none; one of a single token has no time
    between tokens to keep, and keeps the ITL objective.
    """
    sent = trace.column("t_sent")[trace.measured]
    span = float(np.ptp(sent)) if sent.size > 1 else 0.0
    if span <= 0.0:
        return np.empty((len(PLAYERS), 0))
    itl = inter_token_latency(trace)[trace.measured]
    first, then = trace.ttft <= ttft_s, ~(itl > itl_s)
    edges = np.linspace(sent.min(), sent.max(), THROUGHPUT_BINS + 1)
    counts = [np.histogram(sent[kept], edges)[0] for kept in (first, then, first & then)]
    return np.array(counts, dtype=np.float64) * (THROUGHPUT_BINS / span)
