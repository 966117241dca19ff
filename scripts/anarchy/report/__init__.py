"""The report: one HTML file that opens from disk, asks for nothing from a network, and hides no attempt."""

from __future__ import annotations

from anarchy.designs.loading import load_systems
from anarchy.report.page import render, write
from anarchy.report.summary import terminal_summary, write_summary

__all__ = ["load_systems", "render", "terminal_summary", "write", "write_summary"]
