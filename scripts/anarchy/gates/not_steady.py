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
    latency = _latency(trace)
    known = [_drift(latency[rows & trace.measured]) for rows in measured_parts(trace).values()]
    drift = max((each for each in known if each is not None), default=None)
    may_drift = bool(trace.manifest.stages) or trace.manifest.unbounded
    bad = drift is not None and drift > MAX_DRIFT and not may_drift
    return bad, {"drift": drift}


def _latency(trace: CellTrace) -> npt.NDArray[np.float64]:
    """TTFT of every row, model s, shape (rows,); latency to the last token where no measured TTFT is told."""
    ttft = ttft_of(trace)
    if np.isfinite(ttft[trace.measured]).any():
        return ttft
    latency: npt.NDArray[np.float64] = trace.column("t_last_token") - trace.column("t_intended")
    return latency


def _drift(latency: npt.NDArray[np.float64]) -> float | None:
    """Mean of one half over that of the other, the larger over the smaller; None where too few are told."""
    told = latency[np.isfinite(latency)]
    if len(told) < DRIFT_MIN_REQUESTS:
        return None
    half = len(told) // 2
    first, second = float(np.mean(told[:half])), float(np.mean(told[half:]))
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
