"""A staged cell second by second: latency, throughput, load on each worker and the controller's regime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from anarchy.control.detector import Regime
from anarchy.estimate.deployments import MeasuredCell
from anarchy.estimate.loads import prefill_load, worker_loads
from anarchy.games.requests import FloatArray, IntArray
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import StageSpan

Row = dict[str, Any]

BIN_S: Final = 1.0
"""Width of a bin, model s ..."""
BINS_OF_A_STAGE: Final = 4
"""... and at least so many in the shortest stage as planned, so that all launches have the same bins."""
LOOKS: Final = 8
"""So often a bin looks at the loads."""


def series_rows(cell: MeasuredCell) -> list[Row]:
    """Rows of series.parquet of one cell; none where it does not count (stages.parquet says why)."""
    if cell.trace is None or not cell.valid:
        return []
    width = min([BIN_S, *((s.settle_s + s.seconds) / BINS_OF_A_STAGE for s in cell.stages)])
    return [{"launch": cell.launch, "cell": cell.name, **row} for row in trace_series(cell.trace, width)]


def trace_series(trace: CellTrace, width: float = BIN_S) -> list[Row]:
    """One row a bin, from the cell's start to the last sending, without labels."""
    sent = trace.column("t_sent")
    n = int(np.floor(sent.max(initial=0.0) / width)) + 1 if sent.size else 0
    bin_of_sent = np.clip((sent / width).astype(np.int64), 0, max(n - 1, 0))
    ok = trace.equals("status", "ok")
    ended = trace.column("t_last_token")[ok]
    ended = ended[(ended >= 0.0) & (ended < n * width)]
    rates = np.bincount((ended / width).astype(np.int64), minlength=n) / width
    ttft = trace.column("t_first_token") - trace.column("t_intended")
    quantiles = _by_bin(ttft[ok], bin_of_sent[ok], n)
    looks = np.asarray((np.arange(n * LOOKS) + 0.5) * (width / LOOKS), dtype=np.float64)
    load = worker_loads(trace, looks).reshape(n, LOOKS, -1).mean(axis=1)
    waiting = prefill_load(trace, looks).reshape(n, LOOKS).mean(axis=1)
    counts = np.bincount(bin_of_sent, minlength=n) if n else np.empty(0, dtype=np.int64)
    regimes = _regimes(trace, bin_of_sent, n)
    rows = []
    for index in range(n):
        span = stage_at(trace.manifest.stages, index * width)
        rows.append(
            {
                "t": index * width,
                "seconds": width,
                "stage": span.name if span else "",
                "concurrency": span.concurrency if span else 0,
                "n_sent": int(counts[index]),
                "ttft_p50": float(quantiles[index, 0]),
                "ttft_p99": float(quantiles[index, 1]),
                "throughput_rps": float(rates[index]),
                "load": load[index].tolist(),
                "prefill_load": float(waiting[index]),
                "regime": regimes[index],
            }
        )
    return rows


def stage_at(stages: Sequence[StageSpan], t: float) -> StageSpan | None:
    """The stage at a time of the cell, s; None after the last."""
    return next((span for span in stages if span.start_s <= t < span.end_s), None)


def _by_bin(values: FloatArray, of: IntArray, n: int) -> FloatArray:
    """Median and P99 of the values of each bin, (n, 2); NaN where a bin has none."""
    out = np.full((n, 2), np.nan)
    order = np.argsort(of, kind="stable")
    ends = np.cumsum(np.bincount(of, minlength=n))
    for index, part in enumerate(np.split(values[order], ends[:-1]) if n else []):
        if part.size:
            out[index] = np.quantile(part, [0.5, 0.99])
    return out


def _regimes(trace: CellTrace, bin_of_sent: IntArray, n: int) -> list[str]:
    """The regime that routed most of each bin's requests; empty without one."""
    words = [regime.word for regime in Regime]
    counts = np.array([np.bincount(bin_of_sent[trace.equals("regime", w)], minlength=n) for w in words])
    return [words[counts[:, i].argmax()] if counts[:, i].any() else "" for i in range(n)]
