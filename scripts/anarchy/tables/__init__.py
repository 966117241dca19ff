"""What every table is made of: numbers in words, quantities and headings, CSV and LaTeX, a system as read."""

from __future__ import annotations

from anarchy.ground.words import (
    MISSING,
    caption,
    duration,
    interval,
    intervals,
    is_missing,
    number,
    percent,
    share,
    spaced,
    whole,
)
from anarchy.tables.conditions import HEADINGS, TITLES, ratio_interval
from anarchy.tables.files import latex, write_csv, write_latex
from anarchy.tables.labels import engine_words
from anarchy.tables.systems import System

__all__ = [
    "HEADINGS",
    "MISSING",
    "TITLES",
    "System",
    "caption",
    "duration",
    "engine_words",
    "interval",
    "intervals",
    "is_missing",
    "latex",
    "number",
    "percent",
    "ratio_interval",
    "share",
    "spaced",
    "whole",
    "write_csv",
    "write_latex",
]
