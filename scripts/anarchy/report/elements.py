"""The tables and figures of the paper as the page shows them: what answers each, or why nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anarchy.claims.elements import Output, load_elements
from anarchy.designs.registry import design_of
from anarchy.report.summary import by_experiment
from anarchy.tables import System

Answer = tuple[str, str]
"""What answers, and the section of the page that holds it; empty where this run has none."""


def elements(systems: Sequence[System]) -> list[dict[str, Any]]:
    """Every table and figure of the paper, in the paper's order."""
    sections: dict[str, str] = {}
    for design, name, _ in by_experiment(systems):
        sections.setdefault(design.name, name)
    return [
        {
            "id": element.id,
            "shows": element.shows,
            "answers": [_answer(output, sections) for output in element.outputs],
            "reason": element.reason,
        }
        for element in load_elements()
    ]


def _answer(output: Output, sections: dict[str, str]) -> Answer:
    """An output in words, and where it is on the page."""
    if output.design is None:
        return f"docs/{output.page}", ""
    design = design_of(output.design)
    what = f"figure {output.figure}" if output.figure else f"table: {design.tables[output.table or '']}"
    there = sections.get(design.name, "")
    return f"{design.id}, {what}" + ("" if there else " (not measured in this run)"), there
