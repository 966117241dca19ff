"""Gate `short`: too little measured."""

from __future__ import annotations

from typing import Final

import numpy as np

from anarchy.gates.gate import Asked, Gate, Verdict, measured_parts
from anarchy.trace.reader import CellTrace

MIN_WINDOWS: Final = 2
"""`short`: fewer windows of the routing game than this were measured ..."""
MIN_MEASURE_SHARE: Final = 0.95
"""... or the measure phase was shorter than this share of the plan."""


def short(asked: Asked) -> Verdict:
    """Too little was measured; the plan's length is asked about only where the plan is known."""
    trace = asked.trace
    windows = _fewest_windows(trace, getattr(trace.manifest.n_workers, asked.pool))
    if asked.planned_measure_s is None:
        return windows < MIN_WINDOWS, {"windows": float(windows)}
    measured_s = trace.manifest.client.get("measure_s")
    cut = measured_s is not None and measured_s < MIN_MEASURE_SHARE * asked.planned_measure_s
    return windows < MIN_WINDOWS or cut, {"windows": float(windows), "measure_s": measured_s}


def _fewest_windows(trace: CellTrace, pool_size: int) -> int:
    """Windows of the routing game that were measured, in the stage that has the fewest."""
    parts = measured_parts(trace).values()
    return min(int(np.count_nonzero(trace.measured & rows)) for rows in parts) // pool_size


GATE: Final = Gate(
    name="short",
    rank=70,
    sentence="Too little was measured to speak of a cell, or of one of its stages, at all.",
    threshold=f"fewer than {MIN_WINDOWS} windows, or less than {MIN_MEASURE_SHARE:.0%} of the planned time",
    machine=True,
    own=True,
    public=True,
    ask=short,
)
