"""What of a ladder can be compared with another run's."""

from __future__ import annotations

from typing import Final

from anarchy.designs.metrics import SYSTEM, Source, named
from anarchy.estimate.columns import QUANTITIES

SOURCES: Final = (
    Source("cells.parquet", "cells", (*SYSTEM, "policy", "workload", "concurrency"), named(*QUANTITIES)),
)
"""All that has intervals."""
