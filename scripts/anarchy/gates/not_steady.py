"""Gate `not_steady`: latency that drifts."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from anarchy.gates.gate import Gate, Verdict, measured_parts, ttft_of
from anarchy.trace.reader import CellTrace

MAX_DRIFT: Final = 1.5
"""`not_steady`: mean TTFT of one half of the measure phase over the other ..."""
DRIFT_MIN_REQUESTS: Final = 60
"""... asked only of cells with at least this many measured requests."""


def not_steady(trace: CellTrace) -> Verdict:
    """The latency drifted while measuring: the first and the second half disagree.

    In a staged cell the drift is that of the stage that drifted most, and no fault. Nor is it one where
    requests come however many are in flight: a queue that grows is what overload does.
    """
    ttft = ttft_of(trace)
    known = [_drift(ttft[rows & trace.measured]) for rows in measured_parts(trace).values()]
    drift = max((each for each in known if each is not None), default=None)
    may_drift = bool(trace.manifest.stages) or trace.manifest.unbounded
    bad = drift is not None and drift > MAX_DRIFT and not may_drift
    return bad, {"drift": drift}


def _drift(ttft: npt.NDArray[np.float64]) -> float | None:
    """Mean of one half over that of the other, the larger over the smaller; None where there are too few."""
    if len(ttft) < DRIFT_MIN_REQUESTS:
        return None
    half = len(ttft) // 2
    first, second = float(np.mean(ttft[:half])), float(np.mean(ttft[half:]))
    return max(first, second) / max(min(first, second), 1e-9)


GATE: Final = Gate(
    name="not_steady",
    rank=100,
    sentence="The latency drifted while measuring: the first and the second half disagree.",
    threshold=f"mean TTFT of one half over {MAX_DRIFT:g} times the other's, of {DRIFT_MIN_REQUESTS} requests",
    machine=False,
    own=True,
    public=True,
    ask=lambda asked: not_steady(asked.trace),
)
