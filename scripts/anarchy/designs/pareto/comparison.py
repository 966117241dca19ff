"""What of a sweep over (tau, omega) can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.metrics import CONDITION, SYSTEM, Source, by_quantity

SOURCES: Final = (
    Source(
        "pairs.parquet",
        "cells",
        (*SYSTEM, "routing_set", "policy", "workload", "load", "concurrency", "repeat"),
        CONDITION,
    ),
    Source(
        "spread.parquet",
        "variance ratios",
        (*SYSTEM, "routing_set", "workload", "load", "concurrency", "factor"),
        (*by_quantity("variance_ratio"), *by_quantity("variance_ratio_log")),
        basis="F intervals over the levels of a factor, wide where there are few: agreement says little",
    ),
)
"""All that has intervals."""
