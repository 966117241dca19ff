"""What stands behind a condition's numbers: cache hits, overlaps of decode workers, a controller's regimes.

Each is over the measured requests of all launches; NaN where no trace tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from anarchy.control.detector import Regime
from anarchy.games.requests import BoolArray, FloatArray
from anarchy.trace.reader import CellTrace
from anarchy.trace.schema import OVERLAP_COLUMNS

Row = dict[str, Any]


def mechanism(traces: Sequence[CellTrace]) -> Row:
    """`cached_share`, `overlap_chosen`, `overlap_best` and the shares of the three regimes."""
    return {"cached_share": cached_share(traces), **overlaps(traces), **regime_shares(traces)}


def cached_share(traces: Sequence[CellTrace]) -> float:
    """Prompt tokens found in the prefill worker's cache over all prompt tokens, where both are known."""
    found = asked = 0
    for trace in traces:
        cached, tokens = trace.column("cached_tokens"), trace.column("input_tokens")
        known = trace.measured & (cached >= 0) & (tokens > 0)
        found += int(cached[known].sum())
        asked += int(tokens[known].sum())
    return found / asked if asked else float("nan")


def overlaps(traces: Sequence[CellTrace]) -> Row:
    """Mean share of the prompt's blocks on the decode worker that was chosen, and on the one with most."""
    chosen, best = [], []
    for trace in traces:
        shares, known = overlap_shares(trace)
        worker = trace.column("decode_worker")
        rows = known & trace.measured & (worker >= 0)
        chosen.append(shares[rows, worker[rows]])
        best.append(shares[rows].max(axis=1, initial=0.0))
    return {"overlap_chosen": mean_of(chosen), "overlap_best": mean_of(best)}


def overlap_shares(trace: CellTrace) -> tuple[FloatArray, BoolArray]:
    """Share of each request's prompt on each decode worker, (N, m), and the rows that tell it, (N,)."""
    m, n = trace.manifest.n_workers.decode, trace.table.num_rows
    shares, known = np.zeros((n, m)), np.zeros(n, dtype=np.bool_)
    name = OVERLAP_COLUMNS["decode"]
    if name in trace.table.column_names:
        column = trace.table.column(name).combine_chunks()
        known = np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
        shares[known] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, m)
    return shares, known


def regime_shares(traces: Sequence[CellTrace]) -> Row:
    """Share of the requests that each regime of the controller routed; NaN for a policy without one."""
    counts = {
        one.word: sum(int((trace.measured & trace.equals("regime", one.word)).sum()) for trace in traces)
        for one in Regime
    }
    total = sum(counts.values())
    return {f"share_{word}": count / total if total else float("nan") for word, count in counts.items()}


def mean_of(parts: Sequence[FloatArray]) -> float:
    """Mean over the values of all parts; NaN with none."""
    values = np.concatenate([*parts, np.empty(0)])
    return float(values.mean()) if values.size else float("nan")
