"""What shows all systems together: the overview and its table, and the summary for a terminal."""

from __future__ import annotations

# Plotting is slow to load and every call of Snakemake reads this module: it is imported where it is used.
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from anarchy import tables
from anarchy.designs.design import Design
from anarchy.designs.ladder.design import DESIGN as LADDER
from anarchy.designs.ladder.tables import summary_table, summary_words
from anarchy.designs.loading import load_systems
from anarchy.designs.readings.design import DESIGN as READINGS
from anarchy.designs.registry import design_of, designs
from anarchy.designs.tables import workload_titles
from anarchy.ground.layout import Layout
from anarchy.ground.words import interval, span
from anarchy.report.findings import findings
from anarchy.report.pictures import Picture, embedded
from anarchy.report.titles import title_of
from anarchy.tables import System

FOREST: Final = "forest"
"""Stem of the figure of all claims, and of its table."""
OF_CLAIMS: Final = "claims"
"""Folder of that figure, beside those of experiments."""

_LABEL: Final = ("engine", "dilation", "tier", "interval_kind", "n_launches", "valid")
"""Columns that a label is made of."""


def engine_label(systems: Sequence[System]) -> str:
    """What the numbers of several systems come from, in one line."""
    from anarchy.figures import style

    return style.engine_label(pd.concat([system.rows[list(_LABEL)] for system in systems]))


def ladders(systems: Sequence[System]) -> list[System]:
    """Those measured over a grid of C: the overview and the summary table are of these."""
    return [system for system in systems if system.design == LADDER.name]


def marching(systems: Sequence[System]) -> list[System]:
    """Those whose users march in step or do not, under every reading: a figure shows them together."""
    return [system for system in systems if system.design == READINGS.name and not system.info["sampled"]]


def by_experiment(systems: Sequence[System]) -> list[tuple[Design, str, list[System]]]:
    """Design, name and systems of every experiment: E1 first, and of each E the one named as its notebook."""
    found = [
        (design_of(design), name, [system for system in systems if system.experiment == name])
        for design, name in dict.fromkeys((system.design, system.experiment) for system in systems)
    ]
    return sorted(
        found, key=lambda entry: (designs().index(entry[0]), entry[1] != entry[0].notebook, entry[1])
    )


def write_summary(layout: Layout, verdicts: Sequence[Mapping[str, Any]] | None = None) -> list[Path]:
    """Write what shows systems together.

    Of ladders figure ``overview_poa`` and table ``summary``, of those under every reading figure
    ``overview_march``, and of the claims, where they were judged, figure ``forest`` and its table.
    ``verdicts``: rows of claims.json, or None where nobody judged.
    """
    systems = load_systems(layout)
    return [
        *_write_ladders(layout, ladders(systems)),
        *_write_march(layout, marching(systems)),
        *([] if verdicts is None else _write_forest(layout, systems, verdicts)),
    ]


def _write_forest(
    layout: Layout, systems: Sequence[System], verdicts: Sequence[Mapping[str, Any]]
) -> list[Path]:
    from anarchy.figures import style
    from anarchy.report import forest

    if not systems:
        return []
    rows = forest.forest_rows(verdicts)
    label = pd.concat([system.rows[list(_LABEL)] for system in systems])
    return [
        *style.save(
            forest.forest(rows, label),
            layout.figures(OF_CLAIMS) / FOREST,
            label,
            forest.forest(rows, label, style.SINGLE),
        ),
        tables.write_csv(rows, layout.root / "tables" / f"{FOREST}.csv"),
    ]


def forest_picture(layout: Layout, claims: Sequence[Mapping[str, Any]]) -> Picture:
    """Every claim with a number, as `write_summary` saved it."""
    from anarchy.report import forest

    rows = forest_words(claims).astype(str).to_numpy().tolist()
    return embedded(
        layout,
        layout.figures(OF_CLAIMS) / FOREST,
        alt=f"{forest.READING} " + " ".join(f"{', '.join(row)}." for row in rows),
        reading=forest.READING,
        beside=(layout.root / "tables" / f"{FOREST}.csv",),
    )


def forest_words(claims: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The numbers of that figure for people."""
    from anarchy.report import forest

    return pd.DataFrame(
        [
            {
                "claim": row["ids"],
                "quantity": row["label"],
                "system": row["system"],
                "measured": interval(row["measured"], row["lo"], row["hi"]),
                "published": span((row["published_lo"], row["published_hi"]), lambda end: f"{end:g}"),
                "measured / published": interval(row["ratio"], row["ratio_lo"], row["ratio_hi"]),
                "system's verdict": "level, not compared" if row["level"] else row["verdict"],
            }
            for row in forest.forest_rows(claims).to_dict("records")
        ],
        columns=["claim", "quantity", "system", "measured", "published", "measured / published",
                 "system's verdict"],
    )  # fmt: skip


def _write_march(layout: Layout, systems: Sequence[System]) -> list[Path]:
    from anarchy.designs.readings import figures
    from anarchy.figures import style

    if not systems:
        return []
    return style.save(
        figures.march_of_systems(systems),
        layout.figures(READINGS.notebook) / "overview_march",
        pd.concat([system.frames["readings"] for system in systems]),
        figures.march_of_systems(systems, style.SINGLE),
    )


def _write_ladders(layout: Layout, systems: Sequence[System]) -> list[Path]:
    from anarchy.designs.ladder import figures
    from anarchy.figures import style

    if not systems:
        return []
    cells = pd.concat([system.cells for system in systems])
    summary = summary_table(systems)
    folder = layout.root / "tables"
    what = f"Plateau, knee and deepest point of every system, {workload_titles(systems)}."
    words = tables.caption(what, style.engine_label(cells))
    return [
        *style.save(
            figures.overview(cells, [s.info for s in systems]),
            layout.figures(LADDER.notebook) / "overview_poa",
            cells,
            figures.overview(cells, [s.info for s in systems], style.SINGLE),
        ),
        tables.write_csv(summary, folder / "summary.csv"),
        tables.write_latex(summary_words(summary), folder / "summary.tex", caption=words),
    ]


def overview(layout: Layout, systems: Sequence[System]) -> Picture:
    """PoA-hat of every ladder in one figure, as `write_summary` saved it."""
    return embedded(
        layout,
        layout.figures(LADDER.notebook) / "overview_poa",
        alt="PoA-hat of every system against concurrency, both logarithmic. "
        + " ".join(str(found) for system in systems for found in findings(system)),
        reading="PoA-hat of every system against concurrency; dotted vertical lines are the knees.",
    )


def march(layout: Layout, systems: Sequence[System]) -> Picture:
    """PoA-hat of users in step and not, of every system that was so measured, as `write_summary` saved it."""
    return embedded(
        layout,
        layout.figures(READINGS.notebook) / "overview_march",
        alt=f"{READINGS.figures['march']} "
        + " ".join(str(f) for system in systems for f in findings(system)),
        reading=READINGS.figures["march"],
    )


def terminal_summary(systems: Sequence[System], report: Path | None = None) -> str:
    """The run's result in a few lines: of E1 a table of plateau and knee, of the others a sentence a system.

    Plain text without colours, as wide as it needs to be; ends with where the report is.
    """
    lines: list[str] = []
    for design, name, mine in by_experiment(systems):
        if design is LADDER:
            lines += _ladder_lines(mine)
        else:
            lines += ["", title_of(design, name)]
            for found in (found for system in mine for found in findings(system)):
                lines += [f"  {found.of}:", *(f"    {part}" for part in found.parts)]
    valid = pd.concat([system.rows["valid"].astype(bool) for system in systems])
    uncounted, total = int((~valid).sum()), len(valid)
    if uncounted:
        lines.append(f"{uncounted} of {total} cells are not counted; the report says why.")
    titles = workload_titles(systems)
    lines.append(f"{engine_label(systems)}; {titles}.")
    if report is not None:
        lines.append(f"report: {report}")
    return "\n".join(lines)


def _ladder_lines(systems: Sequence[System]) -> list[str]:
    words = summary_words(summary_table(systems)).drop(columns=["valid cells"])
    words = words.rename(
        columns={"first post-knee C": "first\npost-knee C", "PoA-hat at deepest C": "PoA-hat at\ndeepest C"}
    )
    table = Table(box=box.SIMPLE_HEAD, title="PoA-hat [95 % interval]", title_justify="left", pad_edge=False)
    for place, name in enumerate(words):
        table.add_column(str(name), justify="left" if place == 0 else "right", no_wrap=True)
    for row in words.astype(str).to_numpy():
        table.add_row(*row)
    stream = io.StringIO()
    Console(file=stream, width=200, force_terminal=False, color_system=None).print(table)
    return [line.rstrip() for line in stream.getvalue().splitlines()]
