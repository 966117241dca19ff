"""What of a split of a budget can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.metrics import DIFFERENCE, SYSTEM, Metric, Source, named

_KEYS: Final = (*SYSTEM, "workload", "concurrency")

SOURCES: Final = (
    Source(
        "splits.parquet",
        "cells of a split",
        _KEYS,
        (
            *named(
                *("throughput_rps", "within_ttft", "within_itl", "goodput"),
                *("ttft_p50", "ttft_p99", "itl_mean"),
            ),
            Metric("backlog_rps", "backlog_rps", DIFFERENCE, "requests/s"),
        ),
    ),
    Source(
        "prices.parquet",
        "games",
        _KEYS,
        named(
            *("best_goodput", "price_of_anarchy", "price_of_stability", "price_of_variational"),
            *("price_here", "price_unshared"),
        ),
    ),
)
"""All that has intervals and is of this split; what is of others stands with their own systems."""
