"""What of a system measured in stages can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.metrics import CONDITION, DIFFERENCE, SYSTEM, Metric, Source, by_quantity

STAGED: Final = (
    Source(
        "stages.parquet",
        "stages",
        (*SYSTEM, "routing_set", "policy", "workload", "stage", "concurrency"),
        (*CONDITION, Metric("curvature", "curvature", DIFFERENCE, "s/user²")),
    ),
    Source(
        "ratios.parquet",
        "ratios",
        (
            *(*SYSTEM, "routing_set", "policy", "against_set", "against"),
            *("workload", "stage", "concurrency"),
        ),
        by_quantity("ratio"),
    ),
)
"""All that has intervals."""
