"""What of ladders under every reading can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.metrics import SYSTEM, Source, named

_KEYS: Final = (*SYSTEM, "routing_set", "policy", "workload")

SOURCES: Final = (
    Source(
        "cells.parquet",
        "cells",
        (*_KEYS, "concurrency"),
        named("ttft_mean", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps"),
    ),
    Source("readings.parquet", "readings", (*_KEYS, "reading", "concurrency"), named("poa_hat")),
)
"""All that has intervals."""
