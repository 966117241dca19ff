"""Estimates as read from disk, and the tables made of them: raw numbers for CSV, words for people and LaTeX.

The functions that make a table take and return frames; reading and writing stand apart at the two ends.
Times are seconds in the estimates and milliseconds in tables, as the column names say.
"""

from __future__ import annotations

from anarchy.designs import CELL_COLUMNS, CURVE_COLUMNS
from anarchy.ground.files import write_whole
from anarchy.ground.words import (
    MISSING,
    caption,
    duration,
    engine_words,
    interval,
    intervals,
    is_missing,
    number,
    percent,
    share,
    spaced,
    whole,
)
from anarchy.tables.files import latex, write_csv, write_latex
from anarchy.tables.ladder import (
    equilibrium_table,
    equilibrium_words,
    summary_table,
    summary_words,
    workload_titles,
)
from anarchy.tables.made import Made, make, save
from anarchy.tables.pareto import pair_table, pair_words, spread_table, spread_words
from anarchy.tables.stages import (
    HEADINGS,
    TITLES,
    detection_table,
    detection_words,
    ratio_interval,
    ratio_table,
    ratio_words,
    stage_table,
    stage_words,
)
from anarchy.tables.systems import System, load_system, load_systems

__all__ = [
    "CELL_COLUMNS",
    "CURVE_COLUMNS",
    "HEADINGS",
    "MISSING",
    "TITLES",
    "Made",
    "System",
    "caption",
    "detection_table",
    "detection_words",
    "duration",
    "engine_words",
    "equilibrium_table",
    "equilibrium_words",
    "interval",
    "intervals",
    "is_missing",
    "latex",
    "load_system",
    "load_systems",
    "make",
    "number",
    "pair_table",
    "pair_words",
    "percent",
    "ratio_interval",
    "ratio_table",
    "ratio_words",
    "save",
    "share",
    "spaced",
    "spread_table",
    "spread_words",
    "stage_table",
    "stage_words",
    "summary_table",
    "summary_words",
    "whole",
    "workload_titles",
    "write_csv",
    "write_latex",
    "write_whole",
]
