"""Knees with a provenance, for tests."""

from __future__ import annotations

from typing import Any

from anarchy.config.knees import RecordedKnee

PROVENANCE: dict[str, Any] = {
    "model": "llama-3.1-70b",
    "topology": "1p2d",
    "value": 162,
    "interval": (156.3, 167.6),
    "engine": "mocker",
    "version": "ai-dynamo 1.5.1",
    "workload": "unique",
    "run": "E1 of a test",
    "date": "2026-11-21",
}


def recorded_knee(served: str, **changes: Any) -> RecordedKnee:
    """A recorded knee of the 70B on 1P/2D, as `knees.yaml` holds it."""
    return RecordedKnee.model_validate({**PROVENANCE, "served": served, **changes})
