"""What of both engines' cells can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.config.objectives import RATES
from anarchy.designs.engines.agreement import COMPARED
from anarchy.designs.metrics import DIFFERENCE, SYSTEM, Metric, Source, named
from anarchy.estimate.columns import QUANTITIES

SOURCES: Final = (
    Source(
        "sides.parquet",
        "cells",
        (*SYSTEM, "routing_set", "workload", "concurrency"),
        (*named(*QUANTITIES, *RATES), Metric("window_range", "window_range", DIFFERENCE, "requests")),
    ),
    Source(
        "differences.parquet",
        "differences between engines",
        (*SYSTEM, "workload", "concurrency"),
        tuple(
            Metric(f"difference_{name}", "difference", DIFFERENCE, quantity=name)
            for name in (*COMPARED, *RATES)
        ),
    ),
)
"""All that has intervals."""
