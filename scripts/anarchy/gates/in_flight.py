"""Gate `in_flight`: more or fewer requests at once than the concurrency allows."""

from __future__ import annotations

from typing import Final

from anarchy.gates.gate import Gate, Verdict
from anarchy.trace.in_flight import contradiction, unended
from anarchy.trace.reader import CellTrace


def in_flight(trace: CellTrace) -> Verdict:
    """The requests in flight contradict the concurrency (`trace/in_flight.py` has the thresholds)."""
    bad, numbers = contradiction(trace)
    return bad, {**numbers, "unended_requests": float(unended(trace))}


GATE: Final = Gate(
    name="in_flight",
    rank=30,
    sentence="The requests in flight contradict the concurrency.",
    threshold="the thresholds are those of trace/in_flight.py",
    machine=True,
    own=True,
    public=True,
    ask=lambda asked: in_flight(asked.trace),
)
