"""What of a pool of caches can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.metrics import DIFFERENCE, SYSTEM, Metric, Source, named

_KEYS: Final = (*SYSTEM, "workload", "templates", "concurrency")

SOURCES: Final = (
    Source(
        "cells.parquet",
        "cells",
        (*_KEYS, "policy"),
        (
            Metric("hit_share", "hit_share", DIFFERENCE),
            *named("copies", "price", "ttft_mean", "ttft_p50", "ttft_p99", "throughput_rps"),
        ),
    ),
    Source(
        "duels.parquet",
        "affinity against balance",
        _KEYS,
        (*named("ttft", "throughput"), Metric("hits", "hits", DIFFERENCE)),
    ),
    Source(
        "regimes.parquet",
        "regimes of working sets",
        (*SYSTEM, "workload", "concurrency", "policy"),
        named("before", "step"),
    ),
)
"""All that has intervals."""
