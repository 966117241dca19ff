"""The figures of policies in stages."""

from __future__ import annotations

from typing import Final

from anarchy.designs.stages.by_stage import factors_by_stage, policies_by_stage, ratios_by_stage
from anarchy.designs.stages.over_time import loads_over_time, policies_over_time
from anarchy.figures.drawing import Drawing
from anarchy.figures.style import DOUBLE

FIGURES: Final[dict[str, Drawing]] = {
    "series": (policies_over_time, DOUBLE),
    "ratios": (ratios_by_stage, DOUBLE),
    "policies": (policies_by_stage, DOUBLE),
    "balance": (loads_over_time, DOUBLE),
    "decomposition": (factors_by_stage, DOUBLE),
}
"""Name of a figure -> how it is drawn."""
