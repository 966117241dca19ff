"""Two runs of one study side by side: by how much each estimate differs, and what their intervals allow."""

from __future__ import annotations

from anarchy.compare.matching import Comparison, Run, compare, compare_runs, load_run
from anarchy.compare.render import render, render_summary
from anarchy.compare.sources import sources
from anarchy.designs.metrics import ALL, Metric, Scale, Source

__all__ = [
    "ALL",
    "Comparison",
    "Metric",
    "Run",
    "Scale",
    "Source",
    "compare",
    "compare_runs",
    "load_run",
    "render",
    "render_summary",
    "sources",
]
