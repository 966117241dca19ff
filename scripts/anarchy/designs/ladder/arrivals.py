"""How requests came in two cells of a ladder: the one whose users marched most in step, and one beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, log
from typing import Any, Final

import numpy as np

from anarchy.estimate.step import stream_of
from anarchy.stats.synchrony import binned
from anarchy.trace.reader import CellTrace

Row = dict[str, Any]

ROUNDS: Final = 5
"""So many rounds of the users are shown, ..."""
MOST_BINS: Final = 400
"""... and at most so many bins."""


def shown(rows: Sequence[Row]) -> list[int]:
    """C of the cell with the largest index of arrivals, and of the nearest that did not march; fewer if none.

    `rows`: those of the table `cells` of one workload. Nearest on the logarithmic scale of C, among those
    whose users, if all marched, would be told.
    """
    told = [row for row in rows if isfinite(row.get("arrivals_dispersion", float("nan")))]
    if not told:
        return []
    most = max(told, key=lambda row: float(row["arrivals_dispersion"]))
    C = most["concurrency"]
    told = [row for row in told if row is not most and row["concurrency"] > row["in_step_from"]]
    others = [row for row in told if not row["in_step"]]
    nearest = sorted(others, key=lambda row: abs(log(row["concurrency"] / C)))[:1]
    return [C, *(row["concurrency"] for row in nearest)]


def arrival_rows(rows: Sequence[Row], traces: Mapping[int, Sequence[CellTrace]]) -> list[Row]:
    """A row a bin of a prefill step of these two cells, of the first launch, without labels."""
    by_C = {row["concurrency"]: row for row in rows}
    found = []
    for C in shown(rows):
        trace = min(traces[C], key=lambda one: one.manifest.launch)
        label = {key: by_C[C][key] for key in ("concurrency", "arrivals_dispersion", "in_step")}
        step = float(by_C[C]["step_s"])
        found += [{**label, "launch": trace.manifest.launch, **one} for one in _bins(trace, step)]
    return found


def _bins(trace: CellTrace, step: float) -> list[Row]:
    """Arrivals and their TTFT over the first rounds of the measure phase."""
    stream = stream_of(trace)
    span = stream.end - stream.start
    turn = span * (stream.users or trace.manifest.concurrency) / stream.sent.size
    end = stream.start + min(span, ROUNDS * turn, MOST_BINS * step)
    counts = binned(stream.sent, stream.start, end, step)
    sent, ttft = trace.column("t_sent")[trace.measured], trace.ttft
    place = np.floor((sent - stream.start) / step).astype(np.int64)
    return [
        {
            "t": index * step,
            "seconds": step,
            "n_sent": int(count),
            "ttft_mean": float(np.mean(mine)) if (mine := ttft[place == index]).size else float("nan"),
            "ttft_max": float(np.max(mine)) if mine.size else float("nan"),
        }
        for index, count in enumerate(counts)
    ]
