"""Gate `errors`: requests that failed."""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.gates.gate import Gate, Verdict, measured_parts
from anarchy.trace.reader import CellTrace

MAX_ERROR_SHARE: Final = 0.005
"""`errors`: more than this share of the requests of the measure phase did not end ok; `lost_records`: so
many records of an imported trace could not be read."""


def errors(trace: CellTrace) -> Verdict:
    """Too many requests of the measure phase did not end ok, or ended ok outside their pools.

    A frontend that has lost its prefill workers answers all the same, from a decode worker: not an error to
    the client, but not a disaggregated request either. Where requests come however many are in flight, one
    that waits past its deadline is what overload does, and no error.
    """
    bad = ~trace.equals("status", "ok")
    if trace.manifest.workers:
        bad = bad | (trace.column("prefill_worker") < 0) | (trace.column("decode_worker") < 0)
    if trace.manifest.unbounded:
        bad = bad & ~trace.equals("status", "timeout")
    parts = measured_parts(trace).values()
    share = max(float(np.mean(bad[rows])) if rows.any() else 0.0 for rows in parts)
    return share > MAX_ERROR_SHARE, {"error_share": share}


GATE: Final = Gate(
    name="errors",
    rank=10,
    sentence="Too many requests of the measure phase did not end ok, or ended ok outside their pools.",
    threshold=f"more than {MAX_ERROR_SHARE:.1%} of them",
    machine=True,
    own=True,
    public=True,
    ask=lambda asked: errors(asked.trace),
)
